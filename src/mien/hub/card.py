"""Model cards: what a model is for, what it cannot know, how well it does, in Hugging Face's format.

Format: YAML between two lines of dashes, then Markdown. It stands beside the folders, for it joins models to figures.
Needs no extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from mien.emotions import LABELS
from mien.models.bundle import BEST, Bundle
from mien.models.spec import CnnSpec, CompactSpec, Head

MOST_CONFUSED = 5
"""How many pairs of classes a card names."""
FRONT = "---"

PURPOSE = """Meant for: naming the expression of a face in a picture, for research and teaching, for sorting one's own
pictures, for interfaces that react to a face whose owner knows and agrees, and as a start for other classes.

Not meant for: judging anyone. Not for hiring, grading, policing, border control, insurance, credit, health, or the
detection of lies; not for watching people who did not agree; not for any decision about a person."""

LIMITS = """It sees 48x48 gray pixels of one moment and says which word people would put to them. It knows the
appearance, not what the person feels, thinks or intends: people often feel without showing, and show without feeling,
and the same face means different things in different situations and cultures (Barrett et al. 2019, *Psychological
Science in the Public Interest* 20(1), doi:10.1177/1529100619832930). A probability is about the word, not about an
inner state. Heads turned far aside, covered faces, drawings, very small or very dark faces are outside what was
measured."""

LAW = """Pointers, no legal advice; the law of the place decides, and it changes.

- European Union, Regulation (EU) 2024/1689 (AI Act): Article 5(1)(f) forbids AI systems that infer emotions of people
  at work and in schools and other places of education, but for medical or safety reasons; it applies since 2 February
  2025 (Article 113). Elsewhere emotion recognition is named among the high-risk uses (Annex III, point 1(c)), and
  those who use it must tell the people concerned (Article 50(3)); recital 44 says why.
- European Union, Regulation (EU) 2016/679 (GDPR): pictures of people are personal data.
- Other places have rules of their own on biometric data."""

GROUPS = """Nothing is known of how this differs between people of different age, gender or skin: the data do not say
who is who. Whoever has such notes for their own pictures measures it: a table of `row` and a column for each
grouping, and `mien evaluate MODEL --data D --groups FILE` gives accuracy, macro F1 and an interval for each group,
and the gap between them."""

OWN_DATA = (
    "mien does not know under which licence these pictures stand, nor who agreed to them; the publisher of this model"
    " does."
)


@dataclass(frozen=True)
class Notes:
    """What a card says that neither the model nor its figures know.

    Attributes:
        license: an SPDX identifier in lower case, such as ``apache-2.0``, or None.
        about_data: Markdown on where data and weights come from and under which licence.
        picture: the address of a picture of its mistakes, relative to the card, or None.
        onnx: names of exported files beside the bundle.
        name: of the model; without it the bundle's.
    """

    license: str | None = None
    about_data: str = OWN_DATA
    picture: str | None = None
    onnx: tuple[str, ...] = field(default=())
    name: str = ""


def model_card(bundle: Bundle, judged: Sequence[Mapping[str, Any]] = (), notes: Notes | None = None) -> str:
    """The card of a model.

    Args:
        bundle: the model, read from a file.
        judged: its figures on splits, as :meth:`mien.evaluation.Evaluation.to_dict` gives them; the last is the test.
        notes: what else to say.

    Returns:
        The whole file as text.
    """
    notes = notes or Notes()
    name = notes.name or bundle.card.name
    front = yaml.safe_dump(_front(bundle, judged, notes, name), sort_keys=False, allow_unicode=True, width=120)
    parts = [
        [FRONT, front.rstrip(), FRONT, "", f"# {name}"],
        [_what(bundle)],
        ["## Use", PURPOSE, _use(notes)],
        ["## What it cannot know", LIMITS],
        ["## Data and licences", _data(bundle), notes.about_data],
        ["## Figures", *_figures(bundle, judged)],
        ["## Where it is wrong", *_mistakes(judged, notes)],
        ["## Groups of people", *_groups(judged)],
        ["## Law", LAW],
        ["## Again", _again(bundle)],
    ]
    return "\n\n".join("\n".join(part) if part[0] == FRONT else "\n\n".join(part) for part in parts) + "\n"


def front_matter(text: str) -> dict[str, Any]:
    """The YAML of a card; empty where it has none, or none that is a mapping."""
    if not text.startswith(f"{FRONT}\n") or f"\n{FRONT}\n" not in text[4:]:
        return {}
    try:
        found = yaml.safe_load(text[4:].partition(f"\n{FRONT}\n")[0])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _front(bundle: Bundle, judged: Sequence[Mapping[str, Any]], notes: Notes, name: str) -> dict[str, Any]:
    emotions = bundle.card.labels == LABELS
    kind = ["facial-expression-recognition", "emotion"] if emotions else ["face"]
    found: dict[str, Any] = {} if notes.license is None else {"license": notes.license}
    found |= {"library_name": "mien", "pipeline_tag": "image-classification", "tags": ["mien", *kind, "onnx"]}
    results = [_result(one) for one in judged]
    if results:
        found |= {"metrics": ["accuracy", "f1"], "model-index": [{"name": name, "results": results}]}
    files = {"file": BEST, "sha256": bundle.sha256, **({"onnx": list(notes.onnx)} if notes.onnx else {})}
    return found | {"mien": files | {"labels": list(bundle.card.labels)}}


def _result(one: Mapping[str, Any]) -> dict[str, Any]:
    """A split's figures in the form of Hugging Face's model index."""
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


def _what(bundle: Bundle) -> str:
    card = bundle.card
    kinds = {CnnSpec: "a plain convolutional network", CompactSpec: "three blocks of MobileNet v1 and residual blocks"}
    kind = kinds.get(type(card.network), f"MobileNet v1 cut after block {getattr(card.network, 'cut', '')}")
    size = f" ({bundle.path.stat().st_size / 1e6:.1f} MB)" if bundle.path is not None else ""
    start = card.provenance.get("start")
    origin = f" It started from the model {start['name']} (SHA-256 `{start['sha256']}`)." if start else ""
    teacher = card.provenance.get("teacher")
    origin += f" It learned from another model's answers, too (SHA-256 `{teacher}`)." if teacher else ""
    answers = f"Out: a probability for each of {', '.join(card.labels)}."
    two = ""
    if Head.VOTES in card.heads:
        two = (
            " Two heads: the first says which label the data set would give (the accuracies below), the second, which"
            " `mien predict` shows, what people see."
        )
    return (
        f"A model of mien (`pip install mien`): {kind}, {bundle.parameters:,} numbers{size}.{origin} In: a face, 48x48"
        f" gray, cut as FER2013 cuts faces; mien finds and cuts them. {answers}{two}"
    )


def _use(notes: Notes) -> str:
    lines = [
        "```python",
        "import mien",
        "",
        f'predictor = mien.Predictor("{BEST}")  # pip install mien; no PyTorch',
        'print(predictor.predict("photo.jpg").faces)',
        "```",
    ]
    if notes.onnx:
        names = ", ".join(f"`{name}`" for name in notes.onnx)
        lines += ["", f"For other runtimes, with labels and preprocessing as metadata: {names}."]
    return "\n".join(lines)


def _data(bundle: Bundle) -> str:
    data = bundle.card.provenance.get("data")
    if not isinstance(data, Mapping):
        return "The bundle does not say on which data it was trained."
    splits = ", ".join(f"{name} {count:,}" for name, count in data["splits"].items())
    made = "".join(f" Splits: {note}." for note in bundle.card.provenance.get("notes", []))
    return f"Trained on `{data['name']}`: {splits} (fingerprint `{data['fingerprint']}`).{made}"


def _figures(bundle: Bundle, judged: Sequence[Mapping[str, Any]]) -> list[str]:
    if not judged:
        chosen = bundle.card.provenance.get("validation") or {}
        if chosen.get("accuracy") is None:
            return ["Nothing was measured."]
        return [f"Best accuracy on {chosen['split']} in training: {chosen['accuracy']:.2%}. Nothing else was measured."]
    lines = [
        "Single view, no test-time augmentation, one model. *Clean*: without test faces whose pixels also stand in"
        " Training.",
        _table(judged),
    ]
    roles = bundle.card.provenance.get("recipe", {}).get("data", {})
    if roles:
        lines[0] += f" Chosen on {roles['validation']}, so {roles['test']} is the fairer figure."
    last = judged[-1]
    return [*lines, f"By class on {last['split']}:", _classes(last), _calibration(bundle, last)]


def _table(judged: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| split | faces | accuracy | clean | macro F1 | NLL | ECE | FER+ agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in judged:
        clean, seen = one["clean"], one["ferplus"]
        cells = [one["split"], f"{one['n']:,}", _percent(one["accuracy"]), _percent(clean and clean["accuracy"])]
        cells += [
            f"{one['macro_f1']:.3f}",
            f"{one['nll']:.3f}",
            f"{one['ece']:.3f}",
            _percent(seen and seen["agreement"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _classes(one: Mapping[str, Any]) -> str:
    lines = ["| class | precision | recall | F1 | faces |", "|---|---|---|---|---|"]
    for name, row in one["per_class"].items():
        lines.append(
            f"| {name} | {row['precision']:.1%} | {row['recall']:.1%} | {row['f1']:.3f} | {row['support']:,} |"
        )
    return "\n".join(lines)


def _calibration(bundle: Bundle, one: Mapping[str, Any]) -> str:
    temperature = bundle.card.calibration.of(Head.LABELS)
    fitted = (
        "No temperature is applied"
        if temperature == 1
        else f"Logits are divided by a fitted temperature of {temperature:.3f}"
    )
    off = f"its probabilities are off by {one['ece']:.1%} on average (ECE, 15 bins)"
    return f"Calibration: {fitted}; on {one['split']} {off}."


def _mistakes(judged: Sequence[Mapping[str, Any]], notes: Notes) -> list[str]:
    look = (
        "`mien report MODEL --data D` shows the faces: the most confident mistakes, each cell of the confusion matrix,"
        " labels in doubt."
    )
    if not judged:
        return [look]
    one = judged[-1]
    names, lines = list(one["per_class"]), ["| true class | called | share of the class | faces |", "|---|---|---|---|"]
    cells = [
        (count / sum(row), count, names[true], names[said])
        for true, row in enumerate(one["confusion"])
        for said, count in enumerate(row)
        if true != said and count
    ]
    for share, count, true_name, said_name in sorted(cells, key=lambda cell: (-cell[0], cell[2:]))[:MOST_CONFUSED]:
        lines.append(f"| {true_name} | {said_name} | {share:.1%} | {count:,} |")
    picture = [f"![Confusion matrix and reliability on {one['split']}]({notes.picture})"] if notes.picture else []
    found = "\n".join(lines) if cells else "None of them."
    return [f"The most frequent mistakes on {one['split']}:", found, *picture, look]


def _groups(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    groups = judged[-1].get("groups") if judged else None
    if not groups:
        return [GROUPS]
    lines = []
    for name, found in groups.items():
        rows = [f"| {name} | faces | accuracy | 95 % interval | macro F1 |", "|---|---|---|---|---|"]
        for group, one in found["groups"].items():
            ends = " to ".join(f"{end:.1%}" for end in one["interval"])
            rows.append(f"| {group} | {one['n']:,} | {one['accuracy']:.1%} | {ends} | {one['macro_f1']:.3f} |")
        lines.append("\n".join(rows))
        if found["gap"]:
            gap = found["gap"]
            lines.append(f"Between {gap['highest']} and {gap['lowest']}: {100 * gap['difference']:.1f} points.")
    return lines


def _again(bundle: Bundle) -> str:
    provenance = bundle.card.provenance
    recipe, seed = provenance.get("recipe", {}).get("name"), provenance.get("seed")
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    command = (
        f"Recipe `{recipe}`, seed {seed}; the whole recipe stands in the bundle's `model.yaml`. " if recipe else ""
    )
    return f"{command}Made with {versions or 'versions that are not known'}. SHA-256 of `{BEST}`: `{bundle.sha256}`."
