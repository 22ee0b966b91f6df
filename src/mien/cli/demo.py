"""``mien demo``: the article's recipe from data to an exported model, shortened; on drawn faces without ``--data``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.data.faces import Faces
from mien.data.synthetic import draw_faces
from mien.data.writers import export_examples
from mien.evaluation import plots
from mien.evaluation.network_diagram import draw_structure
from mien.evaluation.pipeline import Outcome, run_recipe
from mien.evaluation.report.page import make_report
from mien.export.exporter import export_model
from mien.inference import Face, Predictor
from mien.training import load_recipe
from mien.training.summary import summarize_network

RECIPE = "article"
SHORTENED = (
    "phases.0.epochs=3",
    "phases.1.epochs=14",
    "phases.1.plateau.patience=2",
    "phases.1.early_stopping.patience=5",
)
"""What is changed in the recipe, as ``--set`` takes it: the article trains for up to 105 epochs."""
FACES = 2000
"""How many faces are drawn."""
FACE = 106
"""The number of the face in ``face.png``, as in the article."""


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        outcome: the trained and evaluated model.
        face: the exported model's prediction for the face in ``face.png``.
        files: what each file shows, by its path.
    """

    outcome: Outcome
    face: Face
    files: dict[Path, str]


def run_demo(
    faces: Faces | None,
    out: str | Path,
    *,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    report: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Fine-tune the ImageNet network, evaluate and export it, and predict with what was exported.

    Args:
        faces: the data set; None for drawn faces.
        out: the folder; an unfinished demo in it is continued.
        on_epoch: called with each epoch's row of the history.
        report: called with a line at each step.
    """
    out = Path(out)
    report("1/5 data" if faces is not None else "1/5 data: drawing faces (no --data, so these are drawn, not photos)")
    faces = draw_faces(FACES) if faces is None else faces
    plots.save(plots.examples(faces, title=f"Examples from {faces.name}"), out / "examples.png")
    export_examples(faces, out, channels=1)
    report(f"2/5 fine-tuning MobileNet from ImageNet weights: the head, then all layers; {_counts(faces)}")
    command = f"mien train {RECIPE} --data D --out RUN {' '.join(f'--set {change}' for change in SHORTENED)}"
    outcome = run_recipe(
        load_recipe(RECIPE, SHORTENED), faces, out / "run", resume=True, on_epoch=on_epoch, command=command
    )
    report("3/5 evaluated; drawing the network")
    plots.save(draw_structure(summarize_network(str(outcome.out))), out / "structure.png")
    report("4/5 report: the worst errors and how sure the model is of them")
    make_report(outcome.bundle, faces, outcome.test.split).write(out / "report.html")
    report("5/5 export to ONNX, and predictions by the exported model")
    exported = export_model(outcome.bundle, out / "model.onnx", data=faces)
    predictor = Predictor(exported.path, detector="none")
    return Demo(outcome, _draw_predictions(predictor, outcome.test.faces, out), _files(outcome, out))


def _counts(faces: Faces) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in faces.splits().items())


def _draw_predictions(predictor: Predictor, test: Faces, out: Path) -> Face:
    """Write ``predictions.png``, a face of each class, and ``face.png``; its prediction."""
    first = [int(np.flatnonzero(test.emotion == label)[0]) for label in np.unique(test.emotion[test.emotion >= 0])]
    chosen = [*first, min(FACE, len(test) - 1)]
    found = predictor.faces(test.images[chosen])
    rows = np.array([list(face.probabilities.values()) for face in found])
    true = [test.labels[test.emotion[number]] if test.emotion[number] >= 0 else None for number in chosen]
    title = f"{test.name}: the first test face of each class"
    plots.save(plots.predictions(test.images[first], rows[:-1], test.labels, true[:-1], title), out / "predictions.png")
    title = f"{test.name}: test face {chosen[-1]}"
    plots.save(plots.face_and_bars(test.images[chosen[-1]], rows[-1], test.labels, true[-1], title), out / "face.png")
    return found[-1]


def _files(outcome: Outcome, out: Path) -> dict[Path, str]:
    split = outcome.test.split
    return {
        out / "report.html": "report: metrics, confusion matrix, calibration, the worst errors",
        out / "examples.png": "faces of each class",
        out / "structure.png": "the network, layer by layer",
        out / "run" / "history.png": "loss, accuracy and learning rate by epoch",
        out / "run" / f"{split}-confusion.png": f"confusion matrix on {split}",
        out / "predictions.png": "a test face of each class with its probabilities",
        out / "face.png": f"test face {FACE}, predicted by the exported model",
        out / "run" / "best.mien": "the trained model",
        out / "model.onnx": "the same, exported for any ONNX runtime",
    }
