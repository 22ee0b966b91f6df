"""``mien demo``: the whole article on a small scale, on drawn faces without ``--data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mien.data.faces import Faces
from mien.data.synthetic import draw_faces
from mien.data.writers import export_examples
from mien.evaluation import plots
from mien.evaluation.pipeline import Outcome, run_recipe
from mien.inference import Face, Predictor
from mien.training import load_recipe

RECIPE = "toy"


def run_demo(
    faces: Faces | None,
    out: str | Path,
    *,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Outcome, Face]:
    """Read the data, train the small CNN, evaluate it, and predict one face.

    Args:
        faces: the data set; None for drawn faces.
        out: the folder; an unfinished demo in it is continued.
        on_epoch: called with each epoch's row of the history.
        report: called with a line at each step.

    Returns:
        The trained and evaluated model, and its prediction for the face in ``face.png``.
    """
    out = Path(out)
    report("1/4 data" if faces is not None else "1/4 data: drawing faces (no --data, so these are drawn, not photos)")
    faces = draw_faces() if faces is None else faces
    plots.save(plots.examples(faces, title=f"Examples from {faces.name}"), out / "examples.png")
    export_examples(faces, out, channels=1)
    report(f"2/4 training the small CNN on {faces.splits()}")
    outcome = run_recipe(load_recipe(RECIPE), faces, out / "run", resume=True, on_epoch=on_epoch, command="mien demo")
    report("3/4 evaluated; plots written")
    test = outcome.test.faces
    index = min(106, len(test) - 1)
    face = Predictor(outcome.bundle, detector="none").faces(test.images[index : index + 1])[0]
    report(f"4/4 one face: number {index} of {outcome.test.split}")
    true = test.labels[test.emotion[index]]
    title = f"{faces.name}, {outcome.test.split}, number {index}"
    plots.save(
        plots.face_and_bars(
            test.images[index], np.asarray(list(face.probabilities.values())), test.labels, true, title
        ),
        out / "face.png",
    )
    return outcome, face
