"""Model cards in Hugging Face's format: YAML between two lines of dashes, then Markdown (``card.md``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

import yaml

from mien.emotions import LABELS
from mien.models.bundle import BEST, Bundle
from mien.models.spec import CnnSpec, CompactSpec, Head

MOST_CONFUSED = 5
"""How many pairs of classes a card lists."""
FRONT = "---"
OWN_DATA = (
    "mien does not know under which licence these images are, nor who agreed to them; the publisher of this model does."
)

_NO_GROUPS = """Nothing is known of how this differs between people of different age, gender or skin: the data do not
say who is who. With such notes on your own images you can measure it: a table of `row` and a column for each
grouping, and `mien evaluate MODEL --data DATA --groups FILE` gives accuracy, macro F1 and an interval for each group,
and the gap between them."""
_SEE_REPORT = (
    "`mien report MODEL --data DATA` shows the faces: the most confident errors, each cell of the confusion matrix,"
    " labels in doubt."
)
_Evaluation = Mapping[str, Any]  # as Evaluation.to_dict() gives it


@dataclass(frozen=True)
class Notes:
    """What a card states that neither the model nor its metrics contain.

    Attributes:
        license: an SPDX identifier in lower case, such as ``apache-2.0``, or None.
        about_data: Markdown on where data and weights come from and under which licence.
        image: the address of an image of its errors, relative to the card, or None.
        onnx: names of exported files beside the bundle.
        name: of the model; without it the bundle's.
    """

    license: str | None = None
    about_data: str = OWN_DATA
    image: str | None = None
    onnx: tuple[str, ...] = ()
    name: str = ""


def model_card(bundle: Bundle, evaluations: Sequence[_Evaluation] = (), notes: Notes | None = None) -> str:
    """The card of a model.

    Args:
        bundle: the model, read from a file.
        evaluations: its metrics on splits, as :meth:`mien.evaluation.Evaluation.to_dict` gives them; the last is the
            test split.
        notes: what else to state.

    Returns:
        The whole file as text.
    """
    notes = notes or Notes()
    name, files = notes.name or bundle.card.name, ", ".join(f"`{file}`" for file in notes.onnx)
    front = yaml.safe_dump(_front(bundle, evaluations, notes, name), sort_keys=False, allow_unicode=True, width=120)
    template = Template(resources.files("mien.hub").joinpath("card.md").read_text(encoding="utf-8"))
    return template.substitute(
        front=front.rstrip(),
        name=name,
        summary=_summary(bundle),
        exports=f"For other runtimes, with labels and preprocessing as metadata: {files}.\n\n" if files else "",
        data=_data(bundle),
        about_data=notes.about_data,
        metrics="\n\n".join(_metrics(bundle, evaluations)),
        errors="\n\n".join(_errors(evaluations, notes)),
        groups="\n\n".join(_groups(evaluations)),
        reproduction=_reproduction(bundle),
    )


def front_matter(text: str) -> dict[str, Any]:
    """The YAML of a card; empty where it has none, or none that is a mapping."""
    if not text.startswith(f"{FRONT}\n") or f"\n{FRONT}\n" not in text[4:]:
        return {}
    try:
        found = yaml.safe_load(text[4:].partition(f"\n{FRONT}\n")[0])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _front(bundle: Bundle, evaluations: Sequence[_Evaluation], notes: Notes, name: str) -> dict[str, Any]:
    emotions = bundle.card.labels == LABELS
    kind = ["facial-expression-recognition", "emotion"] if emotions else ["face"]
    found: dict[str, Any] = {} if notes.license is None else {"license": notes.license}
    found |= {"library_name": "mien", "pipeline_tag": "image-classification", "tags": ["mien", *kind, "onnx"]}
    results = [_result(one) for one in evaluations]
    if results:
        found |= {"metrics": ["accuracy", "f1"], "model-index": [{"name": name, "results": results}]}
    files = {"file": BEST, "sha256": bundle.sha256, **({"onnx": list(notes.onnx)} if notes.onnx else {})}
    return found | {"mien": files | {"labels": list(bundle.card.labels)}}


def _result(one: _Evaluation) -> dict[str, Any]:
    """A split's metrics in the form of Hugging Face's model index."""
    name = one["data"]["name"]
    metrics = [
        {"type": "accuracy", "value": round(one["accuracy"], 4), "name": "accuracy, single view"},
        {"type": "f1", "value": round(one["macro_f1"], 4), "name": "macro F1"},
        {"type": "expected_calibration_error", "value": round(one["ece"], 4), "name": "ECE, 15 bins"},
    ]
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": f"{name}, {one['split']}", "type": name.partition(".")[0].lower(), "split": one["split"]},
        "metrics": metrics,
    }


def _summary(bundle: Bundle) -> str:
    card = bundle.card
    kinds = {CnnSpec: "a plain convolutional network", CompactSpec: "three blocks of MobileNet v1 and residual blocks"}
    kind = kinds.get(type(card.network), f"MobileNet v1 cut after block {getattr(card.network, 'cut', '')}")
    size = f" ({bundle.path.stat().st_size / 1e6:.1f} MB)" if bundle.path is not None else ""
    start, teacher = card.provenance.get("start"), card.provenance.get("teacher")
    origin = f" It was fine-tuned from the model {start['name']} (SHA-256 `{start['sha256']}`)." if start else ""
    origin += f" It was distilled from another model (SHA-256 `{teacher}`)." if teacher else ""
    heads = (
        " Two heads: the first predicts the label of the data set (FER2013 head), the second what most people see (FER+"
        f" head). Predictions and the figures below are of {card.output}; `--output` chooses one head alone."
    )
    return (
        f"A model of mien (`pip install mien`): {kind}, {bundle.parameters:,} parameters{size}.{origin} Input: a face,"
        " 48x48 gray, cropped as FER2013 crops faces; mien detects and crops them. Output: a probability for each of"
        f" {', '.join(card.labels)}.{heads if Head.VOTES in card.heads else ''}"
    )


def _data(bundle: Bundle) -> str:
    data = bundle.card.provenance.get("data")
    if not isinstance(data, Mapping):
        return "The bundle does not state its training data."
    splits = ", ".join(f"{name} {count:,}" for name, count in data["splits"].items())
    made = "".join(f" Splits: {note}." for note in bundle.card.provenance.get("notes", []))
    return f"Trained on `{data['name']}`: {splits} (fingerprint `{data['fingerprint']}`).{made}"


def _metrics(bundle: Bundle, evaluations: Sequence[_Evaluation]) -> list[str]:
    if not evaluations:
        chosen = bundle.card.provenance.get("validation") or {}
        if chosen.get("accuracy") is None:
            return ["Nothing was measured."]
        return [f"Best accuracy on {chosen['split']} in training: {chosen['accuracy']:.2%}. Nothing else was measured."]
    terms = f"By {bundle.card.output}. Single view, no test-time augmentation, one model."
    terms += " *Clean*: without test faces whose pixels are also in Training."
    roles = bundle.card.provenance.get("recipe", {}).get("data", {})
    if roles:
        terms += f" Chosen on {roles['validation']}, so {roles['test']} is the fairer figure."
    rows = [
        [one["split"], f"{one['n']:,}", _percent(one["accuracy"]), _percent(one["clean"] and one["clean"]["accuracy"])]
        + [f"{one[name]:.3f}" for name in ("macro_f1", "nll", "ece")]
        + [_percent(one["ferplus"] and one["ferplus"][name]) for name in ("agreement", "balanced")]
        + [_percent(one["heads"]["fer2013"]["accuracy"] if one["heads"] else None)]
        for one in evaluations
    ]
    columns = ("split", "faces", "accuracy", "clean", "macro F1", "NLL", "ECE", "FER+ agreement", "class-balanced")
    splits = _table((*columns, "FER2013 head"), rows)
    last = evaluations[-1]
    classes = _table(
        ("class", "precision", "recall", "F1", "faces"),
        [
            [name, f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{row['f1']:.3f}", f"{row['support']:,}"]
            for name, row in last["per_class"].items()
        ],
    )
    return [terms, splits, f"By class on {last['split']}:", classes, _calibration(bundle, last)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, *rows)).replace("\n", f"\n{'|---' * len(head)}|\n", 1)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _calibration(bundle: Bundle, evaluation: _Evaluation) -> str:
    temperature = bundle.card.calibration.last_temperature(bundle.card.heads)
    fitted = "no temperature is applied"
    if temperature != 1:
        fitted = f"logits are divided by a fitted temperature of {temperature:.3f}"
    off = f"the probabilities are off by {evaluation['ece']:.1%} on average (ECE, 15 bins)"
    return f"Calibration: {fitted}; on {evaluation['split']} {off}."


def _errors(evaluations: Sequence[_Evaluation], notes: Notes) -> list[str]:
    if not evaluations:
        return [_SEE_REPORT]
    one = evaluations[-1]
    names = list(one["per_class"])
    cells = [
        (-count / sum(row), names[true], names[predicted], count)
        for true, row in enumerate(one["confusion"])
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    rows = [[true, predicted, f"{-share:.1%}", f"{n:,}"] for share, true, predicted, n in sorted(cells)[:MOST_CONFUSED]]
    found = _table(("true class", "predicted", "share of the class", "faces"), rows) if rows else "None of them."
    image = [f"![Confusion matrix and reliability on {one['split']}]({notes.image})"] if notes.image else []
    return [f"The most frequent errors on {one['split']}:", found, *image, _SEE_REPORT]


def _groups(evaluations: Sequence[_Evaluation]) -> list[str]:
    groups = evaluations[-1].get("groups") if evaluations else None
    if not groups:
        return [_NO_GROUPS]
    parts = []
    for name, found in groups.items():
        rows = [
            [
                group,
                f"{one['n']:,}",
                f"{one['accuracy']:.1%}",
                " to ".join(f"{end:.1%}" for end in one["interval"]),
                f"{one['macro_f1']:.3f}",
            ]
            for group, one in found["groups"].items()
        ]
        parts.append(_table((name, "faces", "accuracy", "95 % interval", "macro F1"), rows))
        if gap := found["gap"]:
            parts.append(f"Between {gap['highest']} and {gap['lowest']}: {100 * gap['difference']:.1f} points.")
    return parts


def _reproduction(bundle: Bundle) -> str:
    provenance = bundle.card.provenance
    recipe, seed = provenance.get("recipe", {}).get("name"), provenance.get("seed")
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    recipe = f"Recipe `{recipe}`, seed {seed}; the whole recipe is in the bundle's `model.yaml`. " if recipe else ""
    return f"{recipe}Made with {versions or 'unknown versions'}. SHA-256 of `{BEST}`: `{bundle.sha256}`."
