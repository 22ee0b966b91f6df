"""``mien compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.console import console, print_json, print_table
from mien.cli.data import load
from mien.cli.options import AsJson, Data, LabelOrderName, Split

SIDES = (
    "Models (shipped names, bundles, run folders, ONNX files of mien export) and files of predictions (.csv, .jsonl)."
)
PEER = "Another program: COMMAND is called with FACES.npz and PREDICTIONS.csv, and writes the second; repeatable."


def compare(
    sides: Annotated[list[Path] | None, typer.Argument(metavar="[MODEL|PREDICTIONS]...", help=SIDES)] = None,
    peers: Annotated[list[str] | None, typer.Option("--peer", metavar="NAME=COMMAND", help=PEER)] = None,
    data: Data = None,
    split: Split = "PrivateTest",
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Compare models and other programs on the same faces: accuracy, clean accuracy, and tests against the first."""
    from mien.errors import require

    for module in ("sklearn", "scipy"):
        require(module, "train")
    from mien.evaluation.compare import compare as evaluate_split
    from mien.evaluation.external import Peer
    from mien.models.bundle import ONLY_HEAD

    models: list[str | Path | Peer] = [*(sides or []), *map(Peer.parse, peers or [])]
    found = evaluate_split(models, load(data, label_order=label_order), split)
    if as_json:
        print_json(found.to_dict())
        return
    clean = "" if found.clean is None else f", {found.clean:,} of them not also in Training (clean)"
    title = f"{found.data['name']}, {split}: {found.n:,} faces{clean}"
    columns = ["", "accuracy", "clean", "macro F1", "FER+", "against the first", "95 % interval", "p"]
    print_table(title, columns, [_cells(row) for row in found.rows])
    for row in found.rows:
        if row["source"].get("output", ONLY_HEAD) != ONLY_HEAD:
            console.print(f"{row['name']}: {row['source']['output']}", markup=False)
    if len(found.rows) > 1:
        console.print("against the first: points of accuracy on all faces; p: McNemar's exact test, two-sided")


def _cells(row: dict[str, Any]) -> list[str]:
    clean, ferplus, against = row["clean"], row["ferplus"], row["against_first"]
    shares = [_percent(row["accuracy"]), _percent(clean and clean["accuracy"])]
    rest = [f"{row['macro_f1']:.3f}", _percent(ferplus and ferplus["agreement"])]
    return [row["name"], *shares, *rest, *_against(against)]


def _against(against: dict[str, Any] | None) -> list[str]:
    if against is None:
        return ["", "", ""]
    ends = "-" if against["interval"] is None else " to ".join(f"{100 * end:+.2f}" for end in against["interval"])
    return [f"{100 * against['difference']:+.2f}", ends, f"{against['mcnemar']['p']:.2g}"]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
