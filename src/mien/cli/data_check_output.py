"""How ``mien data check`` and ``mien data ferplus`` print what they found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mien.cli.console import console, print_table


def print_check(figures: dict[str, Any]) -> None:
    """Print the findings of a check as a table of counts, then what they leave to say."""
    rows = [[name, what, "-" if count is None else f"{count:,}"] for name, count, what in _findings(figures)]
    print_table(f"{figures['name']}: {figures['rows']:,} faces", ["finding", "what", "count"], rows, text=2)
    splits = list(figures["splits"])
    labels = [[label, *(_cell(figures, split, label) for split in splits)] for label in figures["labels"][splits[0]]]
    ratios = [figures["imbalance"][split] for split in splits]
    labels.append(["largest to smallest", *("-" if ratio is None else f"{ratio:.1f} : 1" for ratio in ratios)])
    same = "as published" if figures["as_published"] else "and, where they differ from FER2013's as published, by what"
    print_table(f"labels, {same}" if figures["published"] else "labels", ["label", *splits], labels)
    for note in figures["notes"]:
        console.print(f"not checked: {note}", markup=False)
    console.print(f"{figures['seconds']:.1f} s", markup=False)


def _findings(figures: dict[str, Any]) -> list[tuple[str, Any, str]]:
    plain, model = figures["without_constant"], figures["model"]
    by = ", ".join(f"{count:,} by {name}" for name, count in figures["suspects_by"].items())
    if model is not None:
        by += f" ({model['evaluated']:,} faces that {model['name']} has not seen)"
    sizes = ", ".join(f"{count:,} of {size}" for size, count in figures["wrong_sizes"].items())
    return [
        (
            "groups of identical faces",
            figures["duplicate_groups"],
            f"{figures['duplicate_faces']:,} faces; without images of one gray {plain['duplicate_groups']:,} groups, "
            f"{plain['duplicate_faces']:,} faces",
        ),
        *((f"{split} faces in Training", count, "the same pixels") for split, count in figures["leaked"].items()),
        ("PrivateTest faces in PublicTest", figures["private_in_public"], "the same pixels"),
        (
            "groups with different labels",
            figures["conflicting_groups"],
            f"the same pixels; without images of one gray {plain['conflicting_groups']:,}",
        ),
        (
            "groups of near duplicates",
            figures["near_duplicate_groups"],
            f"{figures['near_duplicate_faces']:,} faces: shifted, mirrored, re-encoded, other contrast "
            f"(correlation of {figures['near_threshold']} or more)",
        ),
        *(
            (f"{split} faces near one in Training", count, "besides those with the same pixels")
            for split, count in figures["near_leaked"].items()
        ),
        ("near duplicates with other labels", figures["near_conflicting_groups"], "groups"),
        ("images of one gray", figures["constant"], ""),
        ("nearly blank images", figures["near_blank"], "standard deviation below 5 of 255"),
        ("suspect labels", figures["suspect_labels"], by),
        ("not a face", figures["not_a_face"], "say more than half of the FER+ votes"),
        ("faces without a label", figures["unlabelled"], ""),
        ("images of another size", sum(figures["wrong_sizes"].values()), sizes or "all are 48x48"),
        ("bad rows, left out", len(figures["skipped"]), "; ".join(figures["skipped"][:2])),
    ]


def _cell(figures: Mapping[str, Any], split: str, label: str) -> str:
    count = figures["labels"][split][label]
    published = figures["published"].get(split, {}).get(label)
    return f"{count:,}" if published in (None, count) else f"{count:,} ({count - published:+,})"


def print_ferplus(figures: dict[str, Any]) -> None:
    """Print the votes of each split after the official filtering, and how a model does on them."""
    splits = figures["splits"]
    names = {"left_out": "left out: unclear, unknown, no face", "distributions": "with a distribution"}
    words = list(next(iter(splits.values())))
    rows = [[names.get(word, word), *(f"{splits[split][word]:,}" for split in splits)] for word in words]
    print_table(f"{figures['name']}: FER+, official filtering", ["majority", *splits], rows)
    if figures["joined"] is not None:
        joined = figures["joined"]
        console.print(
            f"joined {joined['rows']:,} rows ({joined['unnamed']:,} without an image in FER+); "
            f"{joined['agreement']:.1%} of the {joined['clear']:,} clear faces have the label that most voted for"
        )
    if figures["model"] is not None:
        _print_model(figures["model"])
    for path in figures["files"]:
        console.print(f"wrote {path}", markup=False)


def _print_model(model: dict[str, Any]) -> None:
    rows = []
    for split, one in model["splits"].items():
        cells = [one[key] for key in ("accuracy", "accuracy_without_contempt", "macro_f1", "cross_entropy")]
        shown = ["-" if value is None else text.format(value) for value, text in zip(cells, _FORMATS, strict=True)]
        rows.append([split, f"{one['n']:,}", *shown, f"{one['contempt']:,}"])
    columns = ["split", "faces", "accuracy", "without contempt", "macro F1", "cross-entropy", "contempt"]
    print_table(f"{model['name']} on FER+'s eight classes ({model['output']})", columns, rows)
    console.print("the model knows no contempt, so each of these faces counts as a mistake")


_FORMATS = ("{:.2%}", "{:.2%}", "{:.3f}", "{:.3f}")
