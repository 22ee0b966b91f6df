"""Where the shipped models' mistakes come from: pairs, doubtful labels, and how far people agree with the labels.

Usage: python -m studies.analysis --data D [--json OUT]

Results of training (results/*.json) say how often a model is wrong; this looks at each wrong face's votes.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.report import command, write_report
from mien.data import load_faces
from mien.data.faces import Usage
from mien.emotions import FERPLUS_OF_EMOTION, LABELS
from mien.evaluation.ferplus import ferplus_figures
from mien.evaluation.report.sections import evaluate_splits, suspects_by_model, suspects_by_votes
from mien.evaluation.statistics import mcnemar
from mien.models.load import load_bundle

MODELS = ("best", "tiny")
SPLITS = (Usage.PUBLIC_TEST, Usage.PRIVATE_TEST)


def mean(values):
    return round(float(np.mean(values)), 4) if len(values) else None


def people(faces):
    """How well people name the labels, and each other's answers.

    A voter is one of the ten votes of a face, drawn at random; only votes for the seven emotions count.
    """
    ours = faces.votes[:, FERPLUS_OF_EMOTION].astype(float)  # (N, 7)
    cast = ours.sum(1)
    voted = cast > 0
    share = ours[voted] / cast[voted, None]
    labels = faces.emotion[voted]
    top = share == share.max(1, keepdims=True)
    majority = top[np.arange(len(labels)), labels] / top.sum(1)  # a tie counts by its part
    seen, clear = faces.majority()
    return {
        "faces": int(voted.sum()),
        "voter_names_the_label": mean(share[np.arange(len(labels)), labels]),
        "majority_names_the_label": mean(majority),
        "two_voters_agree": mean(_pairs(ours[cast > 1])),
        "clear": int(clear.sum()),
        "clear_majority_names_the_label": mean((seen == faces.emotion)[clear]),
    }


def _pairs(votes):
    """The chance that two different voters of a face agree, (N,)."""
    cast = votes.sum(1)
    return (votes * (votes - 1)).sum(1) / (cast * (cast - 1))


def by_agreement(faces, evaluation):
    """Accuracy of model and of the crowd's majority against the labels, by how many of ten votes the winner got."""
    ours = faces.votes[:, FERPLUS_OF_EMOTION]
    most, majority = ours.max(1), ours.argmax(1) == faces.emotion
    rows = []
    for low, high in ((0, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10)):
        some = (most >= low) & (most <= high)
        row = {"votes": [low, high], "faces": int(some.sum())}
        rows.append(row | {"model": mean(evaluation.hits[some]), "majority": mean(majority[some])})
    return rows


def pairs(confusion, count=8):
    """The most frequent mistakes: true, predicted, faces, and their part of the true class."""
    counts = np.array(confusion)
    totals = counts.sum(1)
    np.fill_diagonal(counts, 0)
    cells = [divmod(int(cell), len(counts)) for cell in np.argsort(-counts, axis=None)[:count]]
    return [
        {
            "true": LABELS[true],
            "predicted": LABELS[predicted],
            "faces": int(counts[true, predicted]),
            "part": round(counts[true, predicted] / totals[true], 4),
        }
        for true, predicted in cells
    ]


def look(name, faces):
    """All that is known of a shipped model's answers on both test splits."""
    model = evaluate_splits(load_bundle(name), faces, SPLITS)
    found = {"sha256": model.bundle.sha256, "splits": {}}
    for split, evaluation in model.shown.items():
        part = evaluation.faces
        figures = evaluation.figures
        found["splits"][split] = {
            "n": len(evaluation.hits),
            "output": model.bundle.card.output,
            "accuracy": figures["accuracy"],
            "pairs": pairs(figures["confusion"]),
            "doubt": suspects_by_votes(evaluation).figures,
            "own_doubt": suspects_by_model(evaluation).figures,
            "by_agreement": by_agreement(part, evaluation),
            "ferplus": ferplus_figures(evaluation.probabilities, part),
        }
    return model, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces = load_faces(options.data)
    models = {name: look(name, faces) for name in MODELS}
    first = models["best"][0].shown
    paired = {
        name: {split: asdict(mcnemar(first[split].hits, one.hits)) for split, one in model.shown.items()}
        for name, (model, _) in models.items()
        if name != "best"
    }
    report = {
        "command": command(__spec__.name),
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
        "people": {split: people(faces.select(split)) for split in SPLITS},
        "models": {name: found for name, (_, found) in models.items()},
        "best_against": paired,
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
