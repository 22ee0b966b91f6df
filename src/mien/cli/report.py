"""``mien report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import console, print_json, print_table, stderr
from mien.cli.data import keep_inputs, load
from mien.cli.options import AsJson, Data, LabelOrderName, OptionalModelArgument


def report(
    model: OptionalModelArgument = Path("best"),
    data: Data = None,
    out: Annotated[Path, typer.Option("--out", metavar="REPORT.html", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    compare: Annotated[
        list[str] | None, typer.Option("--compare", metavar="MODEL", help="Another model to compare with; repeatable.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The split whose faces are shown; PublicTest by default.")
    ] = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Write an HTML report: metrics, confusion matrix, calibration, the worst errors, how to reproduce the model."""
    from mien.errors import require

    for module in ("torch", "jinja2", "sklearn", "matplotlib"):
        require(module, "train")
    from mien.evaluation.report.page import make_report

    keep_inputs([out], data, [model, *(compare or [])])
    found = make_report(model, load(data, label_order=label_order), split, compare or [])
    path = found.write(out)
    for note in found.notes:
        stderr.print(note, style="yellow", markup=False)
    if as_json:
        print_json({"report": str(path), "bytes": path.stat().st_size} | found.to_dict())
        return
    rows = []
    for name, one in found.model.shown.items():
        low, high = one.interval or (one.accuracy, one.accuracy)
        rows.append([name, f"{len(one.hits):,}", f"{one.accuracy:.2%}", f"{low:.2%} to {high:.2%}"])
    print_table(found.model.bundle.card.title, ["split", "faces", "accuracy", "95 % interval"], rows)
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB), with the faces of {found.split}", markup=False)
