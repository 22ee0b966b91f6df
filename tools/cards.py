"""The cards of the shipped models: docs/cards/NAME.md and NAME.png, from results/*.json and the bundles.

Usage: python -m tools.cards [--check]
       python -m tools.cards --measure --data D      (writes results/certainty.json first)

With --check nothing is written, and the exit code is 1 where a card differs from results/ and the bundle. The
images are plots: FER2013's faces are not copied into the project; the cards list the indices of the most confident
errors.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.report import RESULTS, ROOT, command, write_report
from mien.data import load_faces
from mien.evaluation import evaluate, plots
from mien.evaluation.statistics import reliability
from mien.hub.card import Notes, model_card
from mien.models.load import load_bundle, shipped_models
from tools.output import read_result, update

OUT = ROOT / "docs" / "cards"
CERTAINTY = RESULTS / "certainty.json"
SPLIT = "PrivateTest"
WORST = 6

ABOUT_DATA = """Four parts, each with its own terms:

- **Code**: Apache-2.0.
- **These weights**: trained by the authors of mien, who license them under Apache-2.0 as far as the rights are theirs.
  Whether weights that were trained on images without a clear licence carry rights of others is not settled; mien
  makes no promise about it, commercial use included.
- **ImageNet pretraining**: training started from the MobileNet v1 weights that Google published (Apache-2.0), which
  were trained on ImageNet; its images come from the web, for non-commercial research and education by its terms.
- **FER2013's images**: collected by web searches for a Kaggle competition in 2013 (Goodfellow et al.,
  arXiv:1307.0414). They have no clear licence, and the people in them were not asked. mien ships none of them, and
  makes no promise about their use. The FER+ votes (Barsoum et al., arXiv:1608.01041) are Microsoft's, published under
  the MIT licence.

The labels come from the search terms, and many are in doubt: see docs/analysis.md."""


def measure(data, path):
    faces = load_faces(data)
    part = faces.select(SPLIT)
    seen, clear = part.majority()
    found = {}
    for name in shipped_models():
        evaluated = evaluate(name, faces, SPLIT)
        hits, sure = evaluated.predicted == part.emotion, evaluated.probabilities.max(1)
        said, right = reliability(hits, sure)
        edges = np.linspace(0, 1, 16)
        counts = np.histogram(sure, edges)[0]
        wrong = sorted(np.flatnonzero(~hits).tolist(), key=lambda place: -sure[place])[:WORST]
        found[name] = {
            "sha256": evaluated.bundle.sha256,
            "confidence": [round(float(one), 4) for one in said],
            "accuracy": [round(float(one), 4) for one in right],
            "faces": [int(count) for count in counts if count],
            "most_confident_mistakes": [
                {
                    "number": place,
                    "label": part.labels[part.emotion[place]],
                    "answer": part.labels[evaluated.predicted[place]],
                    "confidence": round(float(sure[place]), 4),
                    "most_voted": part.labels[seen[place]] if clear[place] else None,
                }
                for place in wrong
            ],
        }
    data = {"name": faces.name, "fingerprint": faces.fingerprint}
    report = {"command": command(__spec__.name), "data": data, "split": SPLIT, "models": found}
    write_report(report, path, quiet=True)


def card(name):
    bundle, run = load_bundle(name), read_result(name)
    evaluated = [run["validation"], run["test"]]
    certainty = read_result("certainty")["models"][name]
    for sha256 in (certainty["sha256"], *(one["model"]["sha256"] for one in evaluated)):
        if sha256 != bundle.sha256:
            sys.exit(f"{name}: results/ is of another model than the bundle")
    notes = Notes("apache-2.0", ABOUT_DATA, f"{name}.png", name=f"mien-{name}")
    text = model_card(bundle, evaluated, notes)
    before, heading, after = text.partition("## Groups of people")
    return f"{before}{worst(name, certainty)}\n\n{heading}{after}"


def worst(name, certainty):
    """The most confident errors by their indices, with the command that shows one."""
    rows = ["| index | label | prediction | most votes |", "|---|---|---|---|"]
    for one in certainty["most_confident_mistakes"]:
        answer = f"{one['answer']}, {one['confidence']:.1%}"
        rows.append(f"| {one['number']} | {one['label']} | {answer} | {one['most_voted'] or 'no majority'} |")
    first = certainty["most_confident_mistakes"][0]["number"]
    return "\n".join(
        [
            f"The most confident errors on {SPLIT} (results/certainty.json):",
            "",
            *rows,
            "",
            f"The images are FER2013's and not in this card: `mien show {name} face.png --data DATA"
            f" --split {SPLIT} --index {first}` plots the first.",
        ]
    )


def picture(name):
    """Confusion matrix and reliability diagram side by side."""
    test, certainty = read_result(name)["test"], read_result("certainty")["models"][name]
    names, counts = list(test["per_class"]), np.array(test["confusion"])
    share = counts / counts.sum(1, keepdims=True)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    left.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (true, said), value in np.ndenumerate(share):
        left.text(
            said,
            true,
            f"{value:.0%}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if value > 0.5 else "#222222",
        )
    left.set(xticks=range(len(names)), yticks=range(len(names)), yticklabels=names, xlabel="predicted", ylabel="label")
    left.set_xticks(range(len(names)), names, rotation=35, ha="right")
    left.set_title("share of each label's faces", fontsize=10)
    right.plot([0, 1], [0, 1], color="#999999", lw=1)
    right.plot(certainty["confidence"], certainty["accuracy"], "o-", color="#3d7ea6")
    right.bar(
        certainty["confidence"], np.array(certainty["faces"]) / test["n"], width=0.05, color="#3d7ea6", alpha=0.25
    )
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    right.set_title(f"calibration, ECE {test['ece']:.3f}; bars: share of the faces", fontsize=10)
    right.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{name} on {SPLIT}: {test['accuracy']:.2%} of {test['n']:,} faces", fontsize=12)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a card differs")
    parser.add_argument("--measure", action="store_true", help="measure certainty first; needs --data")
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    if args.measure:
        measure(args.data, CERTAINTY)
    for name in shipped_models():
        path, text = OUT / f"{name}.md", card(name)
        update(path, text, args.check, __spec__.name)
        if not args.check:
            plots.save(picture(name), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
