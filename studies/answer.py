"""Which output two-headed models should show: candidates on PublicTest and on photos, and the one that is chosen.

Usage: python -m studies.answer --data D --photos DIR [--json OUT] MODEL...

PrivateTest is not read. DIR has folders by expression of photos that no model was trained on; they are processed as by
`mien predict`, and photos without a detected face are left out while choosing. `python -m tools.answer` stores what
this finds in the shipped models.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.report import command, write_report
from mien import Predictor, evaluate, load_faces
from mien.data.faces import Usage
from mien.data.walk import walk_files
from mien.emotions import LABELS, Emotion, Output
from mien.evaluation.metrics import ece
from mien.evaluation.photos import photo_figures
from mien.models.calibration import Photos, calibrated, fit_answer, with_shares
from mien.models.load import load_bundle
from mien.models.onnx.session import Session, softmax
from mien.models.output import with_output

PRINTED = [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.5), (0.3, 0.25), (0.1, 0.25), (0.2, 0.25)]
"""Weights and exponents of the candidates that are printed beside the chosen one."""


def detect(folder):
    """The detected faces of every photo, and the class of its folder, int64 (N,)."""
    predictor, paths = Predictor("tiny"), list(walk_files(str(folder)))
    labels = [int(Emotion.from_word(Path(path).parent.name)) for path in paths]
    return [predictor.detect(path, path) for path in paths], np.array(labels)


def on_photos(bundle, photos):
    """End to end, missed faces included, as `mien evaluate --photos` has them."""
    figures = photo_figures(photos[1], Predictor(bundle).classify(photos[0]), LABELS)
    return {name: figures[name] for name in ("n", "missed", "accuracy", "interval", "balanced_accuracy", "mean5")}


def on_split(bundle, faces):
    figures = evaluate(bundle, faces, Usage.PUBLIC_TEST).figures
    return {name: figures[name] for name in ("accuracy", "macro_f1", "ferplus", "heads")}


def priors(bundle, faces):
    """What `--prior balanced` does to the class-balanced agreement, and to its calibration on balanced faces."""
    majority, clear = faces.majority()
    found, weights = {}, 1 / np.bincount(majority[clear], minlength=7)[majority[clear]]
    drawn = np.random.default_rng(0).choice(int(clear.sum()), 20_000, p=weights / weights.sum())
    logits = Session(bundle).logits(faces.images[clear])
    for name in (None, "balanced"):
        rows = softmax(with_output(bundle, Output.DEFAULT, name).card.calibration.combine(logits))[drawn]
        true = majority[clear][drawn]
        found[str(name)] = {"balanced_agreement": float((rows.argmax(1) == true).mean()), "ece": ece(rows, true)}
    return found


def study(name, faces, found):
    validation, training = faces.select(Usage.PUBLIC_TEST), faces.select(Usage.TRAINING)
    bundle = with_shares(load_bundle(name), [training])
    session = Session(bundle)
    crops, labels = zip(*((one.crops[0], label) for one, label in zip(*found, strict=True) if one.crops), strict=True)
    photos = Photos(session.logits(np.stack(crops)), np.array(labels))
    alone, both = calibrated(bundle, validation), calibrated(bundle, validation, photos)
    rows = fit_answer(both.card.calibration, session.logits(validation.images), validation, photos)[1]
    answer = both.card.calibration.answer
    shown = [row for row in rows if (row["weight"], row["exponent"]) in [*PRINTED, (answer.weight, answer.exponent)]]
    print(f"{name}: {answer}; by PublicTest alone: {alone.card.calibration.answer}")
    for row in shown:
        print(f"{row['weight']:<6}{row['exponent']:<8}", *(f"{key} {row[key]:.1%} " for key in list(row)[2:]))
    outputs = {output: with_output(both, output) for output in Output}
    return {
        "sha256": load_bundle(name).sha256,
        "calibration": both.card.calibration.model_dump(mode="json"),
        "by_validation_alone": alone.card.calibration.answer.model_dump(),
        "candidates": rows,
        "PublicTest": {output: on_split(one, faces) for output, one in outputs.items()},
        "photos": {output: on_photos(one, found) for output, one in outputs.items()},
        "photos_by_validation_alone": on_photos(alone, found),
        "prior": priors(both, validation),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["best", "tiny"], metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--photos", type=Path, required=True, help="photos in folders by expression")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces = load_faces(options.data)
    found = detect(options.photos)
    models = {name: study(name, faces, found) for name in options.models}
    data = {"name": faces.name, "fingerprint": faces.fingerprint}
    about = {"command": command(__spec__.name), "data": data, "photos": options.photos.name}
    write_report(about | {"models": models}, options.out, quiet=True)


if __name__ == "__main__":
    main()
