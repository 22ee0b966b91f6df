"""``mien export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.console import console, print_json, print_table
from mien.cli.data import load
from mien.cli.options import AsJson, Data, LabelOrderName, ModelArgument


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .onnx, or .pt for TorchScript.")],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="The format: onnx, onnx-int8 or torchscript.")
    ] = "onnx",
    data: Data = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Export a model to ONNX, int8 ONNX or TorchScript, and verify that its predictions stay the same."""
    from mien.errors import require

    require("onnx", "train")
    from mien.export.exporter import export_model

    faces = load(data, label_order=label_order) if data or os.environ.get("MIEN_DATA") else None
    made = export_model(model, out, to, faces)
    if as_json:
        print_json(made.to_dict())
        return
    source = f"{made.bundle.card.name} (SHA-256 {made.bundle.sha256[:16]}…)"
    console.print(f"{made.path}: {made.size / 1e6:.2f} MB (SHA-256 {made.sha256[:16]}…), from {source}", markup=False)
    _print_check(made.check)


def _print_check(check: dict[str, Any]) -> None:
    if "difference" in check:
        console.print(
            f"largest difference of a probability {check['difference']:.1e} (at most {check['bound']:g})"
            f" on {check['faces']:,} faces of {check['data']}",
            markup=False,
        )
        return
    rows = [[name, *_cells(check, key, style)] for name, key, style in _ROWS if check["bundle"][key] is not None]
    print_table(f"{check['data']}, PublicTest: {check['faces']:,} faces", ["figure", "bundle", "int8", "change"], rows)
    console.print(f"at most {round(100 * check['bound'], 2):g} points of accuracy may be lost", markup=False)


_ROWS = [
    ("accuracy", "accuracy", ".2%"),
    ("clean accuracy", "clean", ".2%"),
    ("FER+ agreement", "agreement", ".2%"),
    ("macro F1", "macro_f1", ".3f"),
    ("NLL", "nll", ".3f"),
    ("ECE", "ece", ".3f"),
]


def _cells(check: dict[str, Any], key: str, style: str) -> list[str]:
    before, after = check["bundle"][key], check["export"][key]
    return [format(before, style), format(after, style), format(after - before, f"+{style}")]
