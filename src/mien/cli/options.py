"""The options that several commands share: one name, one help text, one default for one thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mien.emotions import LabelOrder, Output


def examples_text(examples: Sequence[str]) -> str:
    """The end of a command's help: its examples, a line each."""
    return "\n\n".join(["Examples:", *examples])


MODEL = "A shipped model (best, tiny), a run folder, a .mien file, or an ONNX file of mien export."

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DATA", help="The data set; by default the one named in MIEN_DATA."),
]
DataArgument = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="The data set, a file or folder; by default the one named in MIEN_DATA."),
]
DataAndOut = Annotated[
    list[Path],
    typer.Argument(metavar="[DATA] OUT", help="The data set (by default MIEN_DATA), and the file or folder to write."),
]
LabelOrderName = Annotated[
    LabelOrder | None,
    typer.Option("--label-order", help="The data set whose numbering the labels follow, where they are numbers."),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Skip bad rows and list them, instead of stopping at the first.")
]
Split = Annotated[str, typer.Option("--split", help="The split: PublicTest, PrivateTest, Training or test.")]
Groups = Annotated[
    Path | None,
    typer.Option("--groups", metavar="FILE", help="Also evaluate by group: a CSV or parquet file of row and group."),
]
Model = Annotated[Path, typer.Option("--model", metavar="MODEL", help=MODEL)]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)]
OptionalModelArgument = Annotated[Path, typer.Argument(metavar="[MODEL]", help=MODEL)]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe, or a YAML file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the recipe; repeatable."),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="ImageNet weights in Keras' layout, in place of the package's."),
]
Device = Annotated[str, typer.Option("--device", help="The device: auto, cpu or cuda.")]
Detector = Annotated[
    str,
    typer.Option("--detector", help="The face detector: fast or accurate; none if all images are face crops."),
]
MinFace = Annotated[
    int | None,
    typer.Option(
        "--min-face", metavar="PIXELS", min=1,
        help="The smallest face to find, in pixels of the original image; a smaller value takes longer.",
    ),
]  # fmt: skip
OutputName = Annotated[
    Output,
    typer.Option("--output", help="What is shown: the calibrated blend of both heads, or one head alone."),
]
Prior = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="balanced|fer2013|FILE",
        help="The shares of the classes among your faces; FILE maps each class to its share (YAML or JSON).",
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option("--min-confidence", min=0, max=1, help="Report faces below this probability as uncertain."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Faces per network call.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads of the networks; 0 for all cores.")]
Parquet = Annotated[Path | None, typer.Option("--parquet", metavar="OUT", help="Write the same rows as parquet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
