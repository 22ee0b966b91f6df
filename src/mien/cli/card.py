"""``mien card``, ``mien push`` and ``mien pull``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import console, print_json
from mien.cli.data import keep_inputs, load
from mien.cli.options import AsJson, Data, Groups, LabelOrderName, ModelArgument

if TYPE_CHECKING:
    from mien.emotions import LabelOrder
    from mien.hub.card import Notes
    from mien.models.bundle import Bundle

Licence = Annotated[
    str | None, typer.Option("--license", metavar="ID", help="The licence of the weights, such as apache-2.0.")
]
DataDescription = Annotated[
    Path | None, typer.Option("--about-data", metavar="FILE.md", help="A text on the data's origin and licence.")
]
Repo = Annotated[str, typer.Argument(metavar="REPO", help="The repository, OWNER/NAME, on the Hugging Face Hub.")]


def card(
    model: ModelArgument,
    data: Data = None,
    out: Annotated[Path, typer.Option("--out", metavar="CARD.md", help="The file to write.")] = Path("README.md"),
    license_id: Licence = None,
    about_data: DataDescription = None,
    groups: Groups = None,
    label_order: LabelOrderName = None,
) -> None:
    """Write a model card: use, limits, training data and, with --data, metrics."""
    from mien._utils.files import atomic
    from mien.hub.card import model_card
    from mien.models.load import load_bundle

    keep_inputs([out], data, [model], [groups, about_data])
    bundle = load_bundle(model)
    text = model_card(bundle, _evaluated(bundle, data, groups, label_order), _notes(license_id, about_data))
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"wrote {out}", markup=False)


def _evaluated(
    bundle: Bundle, data: Path | None, groups: Path | None, label_order: LabelOrder | None
) -> list[dict[str, Any]]:
    """The model's figures on both test splits, the second of them by group."""
    from mien.errors import DataError, require

    if data is None:
        if groups is not None:
            raise DataError("groups of which faces?", "--groups", "Name the data set with --data.")
        return []
    require("sklearn", "train")
    from mien.evaluation import evaluate

    faces = load(data, label_order=label_order)
    splits = [name for name in ("PublicTest", "PrivateTest") if name in faces.splits()]
    if not splits:
        raise DataError("it has neither PublicTest nor PrivateTest", faces.name, "mien data split makes them.")
    return [evaluate(bundle, faces, name, groups if name == splits[-1] else None).to_dict() for name in splits]


def _notes(license_id: str | None, about_data: Path | None) -> Notes:
    from mien.errors import DataError
    from mien.hub.card import OWN_DATA, Notes

    if about_data is None:
        return Notes(license_id)
    try:
        return Notes(license_id, about_data.read_text(encoding="utf-8").strip() or OWN_DATA)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("it cannot be read as text in UTF-8", about_data, "Name a Markdown file.") from error


def push(
    model: ModelArgument,
    repo: Repo,
    own_card: Annotated[
        Path | None, typer.Option("--card", metavar="CARD.md", help="The model card; written for you by default.")
    ] = None,
    onnx: Annotated[
        list[Path] | None,
        typer.Option("--onnx", metavar="FILE", help="An exported file to upload with it; repeatable."),
    ] = None,
    data: Data = None,
    license_id: Licence = None,
    about_data: DataDescription = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Upload a model and its card to the Hugging Face Hub in one commit.

    The token is the one of `hf auth login` or of HF_TOKEN; it is never shown.
    """
    from mien.hub.card import model_card
    from mien.hub.transfer import Upload, push_model, read_card
    from mien.models.load import load_bundle

    bundle = load_bundle(model)
    text = read_card(own_card, bundle) if own_card is not None else None
    if text is None:
        from dataclasses import replace

        names = tuple(path.name for path in onnx or [])
        text = model_card(
            bundle, _evaluated(bundle, data, None, label_order), replace(_notes(license_id, about_data), onnx=names)
        )
    done = push_model(Upload(bundle, text, tuple(onnx or ())), repo, private=private)
    if as_json:
        print_json(done.to_dict())
        return
    console.print(f"pushed {', '.join(done.files)} to {done.repo} at {done.revision[:12]}", markup=False)
    console.print(done.url, markup=False)


def pull(
    repo: Repo,
    revision: Annotated[
        str, typer.Option("--revision", metavar="R", help="A branch, tag or commit to download.")
    ] = "main",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The folder; by default one named after the repository.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a model that was uploaded with mien push, and verify it. Its folder is a MODEL for every command."""
    from mien.hub.transfer import pull_model

    found = pull_model(repo, out, revision)
    if as_json:
        print_json(found.to_dict())
        return
    console.print(f"{found.path}: {found.name}, {', '.join(found.labels)}", markup=False)
    console.print(
        f"SHA-256 {found.sha256[:16]}… as its card says, from {found.repo} at {found.revision[:12]}", markup=False
    )
