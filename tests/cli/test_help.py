"""The help: commands in panels, one name for one thing, and examples that run."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from PIL import Image
from typer.core import TyperGroup, TyperOption

from mien.cli import app
from mien.data import Faces
from mien.data.writers import convert_faces
from support.documents import votes_of, write_pictures
from support.hub_server import TOKEN, fake_hub

if TYPE_CHECKING:
    from conftest import Ran
    from mien.training import Run

ROOT = typer.main.get_command(app)


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its name, ``("data", "info")``."""
    if isinstance(group, TyperGroup):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))
    else:
        yield path, group


def examples(command: Any) -> list[str]:
    """The commands at the end of a command's help."""
    head, *rest = (command.epilog or "").split("\n\n")
    assert head == "Examples:"
    return rest


ALL = {" ".join(path): command for path, command in commands()}
ELSEWHERE = {"data fetch": "needs the network", "demo": "test_model_commands.py"}
EXAMPLES = [(name, one) for name, command in ALL.items() if name not in ELSEWHERE for one in examples(command)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, drawn: Faces, tiny_run: Run) -> Path:
    """The files that the examples name."""
    root = tmp_path_factory.mktemp("examples")
    write_pictures(root)
    (root / "photos").mkdir()
    shutil.copy(root / "photo.jpg", root / "photos")
    (root / "photos-by-expression" / "happy").mkdir(parents=True)
    shutil.copy(root / "photo.jpg", root / "photos-by-expression" / "happy")
    convert_faces(drawn, root / "faces.csv", "csv")
    convert_faces(votes_of(drawn), root / "votes.parquet", "parquet")
    for place, image in enumerate(drawn.images[:40]):
        path = root / "photos-by-class" / ("awake", "asleep")[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (root / "space.yaml").write_text("phases.0.optimizer.lr: {kind: loguniform, low: 1.0e-3, high: 1.0e-2}\n")
    shutil.copytree(tiny_run.out, root / "runs" / "trained")
    return root


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_the_examples_run(
    name: str, example: str, folder: Path, tmp_path: Path, mien: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are run as they stand, in a folder with the files that they name; runs/mine is a model that was trained."""
    here = shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(here)
    words = shlex.split(example)
    assert words[: 1 + len(name.split())] == ["mien", *name.split()]
    if name in ("train", "sweep"):
        words += ["--set", "phases.0.epochs=1"]
    if name != "train":
        (here / "runs" / "trained").rename(here / "runs" / "mine")
    if name == "serve":  # a real one is started in tests/serving
        monkeypatch.setattr("mien.serving.server.serve", lambda options, say: 0 if options.port == 8000 else 1)
    if name in ("push", "pull"):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(here / "home"))
        with fake_hub() as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            if name == "pull":
                assert mien(*shlex.split(examples(ALL["push"])[0])[1:]).code == 0
            ran = mien(*words[1:])
    else:
        ran = mien(*words[1:])
    assert ran.code == 0, ran.err


def test_every_command_is_in_a_panel() -> None:
    panels = {getattr(command, "rich_help_panel", None) for command in ROOT.commands.values()}  # type: ignore[attr-defined]
    assert panels == {"Predict", "Train and evaluate", "Data", "Serve and scale", "Share"}


def test_one_option_has_one_help_text_and_one_name() -> None:
    """What several commands share is the same in each; no two spellings of one thing."""
    seen: dict[str, set[str | None]] = {}
    for command in ALL.values():
        for option in command.params:
            if isinstance(option, TyperOption) and option.opts[0] in SHARED:
                seen.setdefault(option.opts[0], set()).add(option.help)
    assert {name for name, texts in seen.items() if len(texts) > 1} == set()
    metavars = {p.metavar for command in ALL.values() for p in command.params if p.metavar}
    assert not metavars & {"D", "F", "[D] OUT", "M"}


SHARED = {
    "--label-order", "--skip-bad", "--groups", "--set", "--weights", "--device", "--min-face", "--min-confidence",
    "--batch-size", "--parquet",
}  # fmt: skip
