"""``mien evaluate`` and ``mien show``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from mien.cli.console import console, error_line, print_json, print_table, progress_bar, quiet_libraries, stderr
from mien.cli.data import keep_inputs, load
from mien.cli.options import (
    AsJson,
    Data,
    Detector,
    Groups,
    LabelOrderName,
    MinFace,
    ModelArgument,
    OptionalModelArgument,
    OutputName,
    Prior,
    Split,
)
from mien.cli.train import print_agreement
from mien.emotions import Output

HEAD_NAMES = {Output.FER2013: "FER2013 head", Output.FERPLUS: "FER+ head"}

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.emotions import LabelOrder
    from mien.evaluation import Evaluation
    from mien.evaluation.photos import PhotoEvaluation
    from mien.inference import Face, Predictor
    from mien.models.bundle import Bundle, Card


def evaluate(
    model: OptionalModelArgument = Path("best"),
    data: Data = None,
    split: Split = "PublicTest",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Also write metrics and plots to this folder.")
    ] = None,
    groups: Groups = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="DIR", help="Evaluate on ordinary photos in folders by expression, with face detection."
        ),
    ] = None,
    detector: Detector = "fast",
    min_face: MinFace = None,
    output: OutputName = Output.DEFAULT,
    prior: Prior = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Evaluate a model: accuracy, calibration and the confusion matrix on a split, or on photos with --photos.

    Photos are processed as by mien predict; a photo counts as wrong where no face is detected.
    """
    from mien.errors import DataError, require

    require("sklearn", "train")
    if photos is not None:
        if data is not None or groups is not None:
            raise DataError("--photos takes neither --data nor --groups", photos)
        if out is not None:
            keep_photos(out, photos, model, prior)
        from mien.inference import Predictor

        quiet_libraries()
        predictor = Predictor(model, detector=detector, min_face=min_face, output=output, prior=prior)
        _evaluate_photos(predictor, photos, out, label_order, as_json)
        return
    from mien.evaluation import evaluate as evaluate_split
    from mien.evaluation.evaluator import evaluation_files
    from mien.models.load import load_bundle
    from mien.models.output import with_output

    if out is not None:
        keep_inputs([out, *evaluation_files(out, split).values()], data, [model], [groups, prior])
    bundle = with_output(load_bundle(model), output, prior)
    result = evaluate_split(bundle, load(data, label_order=label_order), split, groups)
    for path in result.write(out) if out else []:
        stderr.print(f"wrote {path}", markup=False)
    print_json(result.to_dict()) if as_json else _print_split(result)


def _print_split(result: Evaluation) -> None:
    bundle, figures, clean = result.bundle, result.figures, result.figures["clean"]
    console.print(f"{bundle.card.name} (SHA-256 {bundle.sha256[:16]}…, {bundle.parameters:,} parameters)", markup=False)
    _print_output(bundle.card)
    console.print(f"{result.data['name']}, {result.split}: {figures['n']:,} faces, single view", markup=False)
    console.print(f"accuracy {figures['accuracy']:.2%}", end="")
    if clean and clean["accuracy"] is not None:
        console.print(f"  (clean {clean['accuracy']:.2%} on the {clean['n']:,} that are not also in Training)", end="")
    console.print(
        f"\nmacro F1 {figures['macro_f1']:.3f}   NLL {figures['nll']:.3f}   ECE {figures['ece']:.3f}"
        f"   {result.seconds:.2f} s ({figures['n'] / result.seconds:,.0f} faces/s)"
    )
    print_agreement(figures["ferplus"])
    for head, one in figures["heads"].items():
        agreement = one["ferplus"] and one["ferplus"]["agreement"]
        voted = "" if agreement is None else f", FER+ agreement {agreement:.2%}"
        console.print(f"{HEAD_NAMES[head]} alone: accuracy {one['accuracy']:.2%}{voted}")
    _print_classes(figures, "faces")
    for name, found in figures.get("groups", {}).items():
        _print_groups(name, found)


def _print_output(card: Card) -> None:
    if len(card.heads) > 1:
        console.print(f"output {card.output}", markup=False)


def keep_photos(out: Path, photos: Path, model: Path, prior: str | None) -> None:
    """Refuse outputs of an evaluation on photos that would replace what it reads."""
    from mien.evaluation.photos import photo_files

    keep_inputs([out, *photo_files(out)], None, [model], [photos, prior])


def _evaluate_photos(
    predictor: Predictor, photos: Path, out: Path | None, label_order: LabelOrder | None, as_json: bool
) -> None:
    from mien.data.walk import describe_unread
    from mien.evaluation.photos import evaluate_photos

    with progress_bar() as progress:
        bar = progress.add_task("", total=None)
        result = evaluate_photos(predictor, photos, label_order, lambda: progress.advance(bar))
    for path in result.write(out) if out else []:
        stderr.print(f"wrote {path}", markup=False)
    if line := describe_unread(Counter(result.unread)):
        stderr.print(line, style="yellow", markup=False)
    for one in result.predictions:
        if one.error is not None:
            error_line(f"{one.path}: {one.error}")
    print_json(result.to_dict()) if as_json else _print_photos(result)


def _print_photos(result: PhotoEvaluation) -> None:
    figures, card = result.figures, result.bundle.card
    console.print(f"{card.name} (SHA-256 {result.bundle.sha256[:16]}…), detector {result.detector}", markup=False)
    _print_output(card)
    unread = f", {figures['unreadable']:,} unreadable" if figures["unreadable"] else ""
    console.print(f"{result.folder}: {figures['n']:,} photos, no face in {figures['missed']:,}{unread}", markup=False)
    ends = figures["interval"] and f"  (95 % interval {' to '.join(f'{end:.2%}' for end in figures['interval'])})"
    console.print(f"accuracy {figures['accuracy']:.2%}{ends or ''}")
    five = "" if figures["mean5"] is None else f"   without Disgust and Fear (mean5) {figures['mean5']:.2%}"
    console.print(f"class-balanced accuracy {figures['balanced_accuracy']:.2%}{five}   {result.seconds:.2f} s")
    _print_classes(figures, "photos")


def _print_classes(figures: dict[str, Any], unit: str) -> None:
    """The figures of each class, and the confusion matrix."""
    rows = [
        [name, f"{one['precision']:.1%}", f"{one['recall']:.1%}", f"{one['f1']:.3f}", f"{one['support']:,}"]
        for name, one in figures["per_class"].items()
    ]
    print_table("by class", ["class", "precision", "recall", "F1", unit], rows)
    print_table(
        "confusion (row: true, column: predicted)",
        ["", *figures.get("columns", figures["per_class"])],
        [[name, *counts] for name, counts in zip(figures["per_class"], figures["confusion"], strict=True)],
    )


def _print_groups(name: str, found: dict[str, Any]) -> None:
    """One grouping's table, and the gap between its ends."""
    rows = [
        [group, f"{one['n']:,}", f"{one['accuracy']:.1%}", " to ".join(f"{end:.1%}" for end in one["interval"]),
         f"{one['macro_f1']:.3f}"]
        for group, one in found["groups"].items()
    ]  # fmt: skip
    print_table(f"by {name}", [name, "faces", "accuracy", "95 % interval", "macro F1"], rows)
    gap = found["gap"]
    if gap is not None:
        ends = " to ".join(f"{100 * end:+.1f}" for end in gap["interval"])
        console.print(
            f"gap {100 * gap['difference']:.1f} points between {gap['highest']} and {gap['lowest']}"
            f" (95 % interval {ends})",
            markup=False,
        )
    if found["not_stated"]:
        console.print(f"without a group: {found['not_stated']:,} faces")


def print_probabilities(face: Face) -> None:
    """Every class with its percentage, a line each."""
    width = max(10, *(cell_len(name) + 1 for name in face.probabilities))
    for name, share in face.probabilities.items():
        console.print(f"{set_cell_size(name, width)}{share:8.2%}", markup=False)


def show(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="The plot to write (PNG or SVG).")],
    index: Annotated[int, typer.Option("--index", min=0, help="The index of the face in the split, from 0.")],
    data: Data = None,
    split: Split = "PublicTest",
    attribution: Annotated[
        bool, typer.Option("--attribution", help="Also show which parts of the face support the prediction (Grad-CAM).")
    ] = False,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Plot one face of a data set beside its predicted probabilities."""
    from mien.errors import DataError, require

    for module in ("matplotlib", "torch") if attribution else ("matplotlib",):
        require(module, "train")
    import numpy as np

    from mien.evaluation import plots
    from mien.inference import Predictor

    keep_inputs([out], data, [model])
    predictor = Predictor(model, detector="none")
    faces = load(data, label_order=label_order).select(split)
    if index >= len(faces):
        raise DataError(f"there is no face {index}", f"{faces.name}, {split}", f"It has 0 to {len(faces) - 1}.")
    image, label = faces.images[index], int(faces.emotion[index])
    true = faces.labels[label] if label >= 0 else None
    face = predictor.faces(image[None])[0]
    title = f"{predictor.bundle.card.title}: {faces.name}, {split}, number {index}"
    bars = np.asarray(list(face.probabilities.values()))
    spoke = explained(predictor.bundle, image, int(bars.argmax())) if attribution else None
    plots.save(plots.face_and_bars(image, bars, predictor.labels, true, title, spoke), out)
    if as_json:
        print_json({"split": split, "index": index, "true": true, **face.to_dict()})
        return
    console.print(f"true: {true or 'not known'}", markup=False)
    print_probabilities(face)


def explained(bundle: Bundle, image: NDArray[np.uint8], label: int) -> tuple[NDArray[np.float32], str]:
    """Grad-CAM of a class for a face, uint8 (48, 48): float32 (48, 48), 0 to 1, and a note on how it was found."""
    import numpy as np

    from mien.evaluation.gradcam import grad_cam

    found = grad_cam(bundle, image[None], np.array([label]))
    return found.enlarged()[0], f"for {bundle.card.labels[label]}: {found.layer.note}"
