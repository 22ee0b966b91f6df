"""Every command and every block of Python in the README and in docs/ runs as it stands there, and prints what it says.

The commands of a page run one after the other in a folder of its own, which holds what the documents name: drawn faces
in place of FER2013, short runs in place of long ones.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
from PIL import Image

from conftest import Ran, tiny_recipe
from mien._utils.assets import ASSETS
from mien.data import Faces
from mien.data.synthetic import draw_faces
from mien.data.writers import convert_faces
from mien.models.load import shipped_models
from support.documents import (
    ELSEWHERE,
    NOT_RUN,
    PYTHON_NOT_RUN,
    ROOT,
    Command,
    blocks,
    commands,
    run_here,
    votes_of,
    why_not,
    write_pictures,
)

Mien = Callable[..., Ran]
SAME = (
    "mien data toy",
    "mien data info drawn",
    "mien data convert",
    "mien data fetch",
    "mien predict photo.jpg",
    "mien summary",
    "mien train toy --data drawn --out runs/wrong",
)
"""What prints the same each time, rounding aside; of all else the words must be the same, the numbers may differ."""
OTHER_WORDS = {
    "mien data check fer2013": "the drawn faces have other findings",
    "mien predict photos": "other photos",
    "mien predict examples_48_48_3": "a drawn face and a short run",
    "mien predict faces/": "a short run may name faces otherwise on another machine",
    "mien show runs/article": "a drawn face",
    "mien train cnn-plain --data fer2013": "the page leaves epochs out, and a short run may stop elsewhere",
    "mien video": "another video",
    "mien demo": "other faces",
}
"""Whose words differ as well, and why."""
SHORT = 8
"""At most so many batches an epoch, and epochs a phase."""
NUMBER = r"\d[\d,.]*(?:e[+-]?\d+\b)?"
"""A number as it is printed; how small it is decides whether it has an exponent."""


@pytest.fixture(scope="module")
def world(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the documents name."""
    from mien.training import train

    folder = tmp_path_factory.mktemp("world")
    usage = np.repeat(np.uint8([0, 1, 2]), (180, 110, 110))  # the documents name number 106 of PublicTest
    convert_faces(votes_of(replace(draw_faces(400, seed=5), usage=usage)), folder / "fer2013.parquet", "parquet")
    for name in ("icml_face_data.csv", "drawn/icml_face_data.csv"):
        convert_faces(drawn, folder / name, "csv")
    train(tiny_recipe(name="article"), drawn, folder / "runs" / "article", seed=1, device="cpu")
    for name in ("cnn-callbacks", "cnn-augment"):
        shutil.copytree(folder / "runs" / "article", folder / "runs" / name)
    write_pictures(folder)
    for name in ("photos", "photos-by-expression/happy"):
        (folder / name).mkdir(parents=True)
    shutil.copy(folder / "photo.jpg", folder / "photos-by-expression" / "happy")
    shutil.copy(folder / "photo.jpg", folder / "photos" / "grace_hopper.jpg")
    with Image.open(folder / "photo.jpg") as image:
        image.save(folder / "photos" / "astronaut.png")
    Image.fromarray(drawn.images[0]).save(folder / "face.png")
    for number, image in enumerate(drawn.images[:24]):
        place = folder / "crops" / ("calm", "smiling", "talking")[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    for name in shipped_models():
        (folder / f"{name}.mien").symlink_to(ASSETS / f"{name}.mien")
    for name in ("photos/coffee.png", "wall.png"):
        Image.new("RGB", (320, 200), "#c8b8a0").save(folder / name)
    return folder


@pytest.fixture
def place(world: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's own copy of that folder, in which its commands run."""
    folder = tmp_path / "place"
    shutil.copytree(world, folder, symlinks=True)
    for text in blocks(request.param, ("yaml",)):
        named = re.search("^name: (.*)", text, flags=re.M)
        (folder / f"{named[1] if named else 'space'}.yaml").write_text(text)
    monkeypatch.chdir(folder)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "MIEN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("mien.cli.demo.FACES", 300)
    monkeypatch.setattr("mien.cli.demo.SHORTENED", ("phases.0.epochs=1", "phases.1.epochs=1"))
    monkeypatch.setattr(lightning, "Trainer", partial(short_trainer, lightning.Trainer))
    monkeypatch.setattr("mien.export.exporter.DROP", 0.05)  # best knows no drawn faces, and one of 110 is 0.9 points
    return folder


def short_trainer(trainer: type[lightning.Trainer], **settings: Any) -> lightning.Trainer:
    """What is printed of a short run differs in its numbers alone."""
    settings["max_epochs"] = min(SHORT, settings["max_epochs"])
    return trainer(**settings, limit_train_batches=SHORT)


def run(command: Command, mien: Mien) -> Ran:
    """Run a command: mien in this process, all else by bash, and what may start Ray, which keeps to its first HOME."""
    if command.text.startswith("mien ") and not command.text.startswith("mien score"):
        return mien(*shlex.split(command.text, comments=True)[1:])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euc", command.text], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=240
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def words(line: str) -> str:
    """A line without its numbers and checksums, and without what depends on their width."""
    line = re.sub(r"\b[0-9a-f]{16,}\b", "#", re.sub("[━─]+", "-", line))
    return " ".join(re.sub(r"[+-]?" + NUMBER, "#", line).split())


def numbers(line: str) -> list[float]:
    return [float(one.replace(",", "").rstrip(".")) for one in re.findall(NUMBER, line)]


def agree(documented: str, printed: str, same: bool) -> bool:
    if words(documented) != words(printed):
        return False
    return not same or numbers(documented) == pytest.approx(numbers(printed), rel=0.005, abs=0.02)


def missing(command: Command, printed: list[str]) -> list[str]:
    """The documented lines that are not among the printed ones, in this order; a line ``…`` stands for any."""
    same = why_not(command.text, dict.fromkeys(SAME, "")) is not None
    rest = iter(printed)
    return [
        line for line in command.output if line != "…" and not any(agree(line, one, same) for one in rest)
    ]  # fmt: skip


def has_runnable(page: Path) -> bool:
    return any(why_not(one.text, NOT_RUN) is None for one in commands(page))


@pytest.mark.parametrize(
    ("place", "page"),
    [pytest.param(page, page, id=page.stem) for page in run_here() if has_runnable(page)],
    indirect=["place"],
)
def test_the_commands_of_a_page_run_and_print_what_it_says(place: Path, page: Path, mien: Mien) -> None:
    for command in commands(page):
        if why_not(command.text, NOT_RUN):
            continue
        ran = run(command, mien)
        refused = bool(command.output) and command.output[0].startswith("error:")
        assert ran.code == (2 if refused else 0), (str(command), ran.err)
        if why_not(command.text, OTHER_WORDS) is None:
            printed = (ran.err + ran.out).splitlines()
            assert not missing(command, printed), (str(command), missing(command, printed), printed)


@pytest.mark.parametrize(
    ("place", "page"),
    [pytest.param(page, page, id=page.stem) for page in run_here() if blocks(page, ("python",))],
    indirect=["place"],
)
def test_the_python_of_a_page_runs(place: Path, page: Path) -> None:
    frame = np.zeros((120, 160, 3), np.uint8)
    for text in blocks(page, ("python",)):
        if any(word in text for word in PYTHON_NOT_RUN):
            continue
        given = {"frame": frame, "frames": [frame], "paths": ["photo.jpg"], "found": [{"emotions": {"happy": 1.0}}]}
        exec(compile(text, page.name, "exec"), given)


@pytest.mark.parametrize("text", ["mien data info fer2013.parquet", "mien data ferplus fer2013.parquet"])
def test_the_figures_of_fer2013_are_what_the_page_says(text: str, shared: Path, mien: Mien) -> None:
    (command,) = [one for one in commands(ROOT / "docs/datasets.md") if one.text == text]
    printed = mien(*text.split()[1:-1], shared / "data" / "fer2013.parquet").out.splitlines()
    assert [line.split() for line in command.output] == [line.split() for line in printed if line.strip()]


def test_the_lists_of_what_is_not_run_are_not_stale() -> None:
    texts = [command.text for page in run_here() for command in commands(page)]
    python = [text for page in run_here() for text in blocks(page, ("python",))]
    for start in (*NOT_RUN, *OTHER_WORDS, *SAME):
        assert any(text.startswith(start) for text in texts), start
    for name, test in ELSEWHERE.items():
        assert (ROOT / test).exists() or not (ROOT / name).exists(), name
    for word in PYTHON_NOT_RUN:
        assert any(word in text for text in python), word


def test_a_wrong_command_or_output_would_be_found() -> None:
    command = Command("page", "mien data info drawn", ("a   12 b", "…", "│ c │ 1,000 │"))
    assert not missing(command, ["a 12 b", "x", "│ c   │ 1,000 │"])
    assert missing(command, ["a 13 b", "│ c │ 1,000 │"]) == ["a   12 b", "│ c │ 1,000 │"]
    assert missing(command, ["│ c │ 1,000 │", "a 12 b"]) == ["│ c │ 1,000 │"]
