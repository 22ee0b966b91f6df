"""The commands and the Python of the README and of docs/, the pictures that they name, and what no test runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib import cbook

from mien.data import Faces
from mien.emotions import FERPLUS_OF_EMOTION

ROOT = Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```", re.M | re.S)
SHELL = ("", "console", "sh", "bash")
TOOLS = ("mien", "python", "python3", "pip", "make", "torchrun", "docker", "curl", "npm", "cp", "cd", ".")
"""In a block without prompts, a line that begins with one of these is a command."""

NOT_RUN = {
    "pip install": "installs packages; benchmarks/five_minutes.py and benchmarks/fresh_install.py do",
    "python3 -m venv try-mien": "benchmarks/five_minutes.py follows the page literally",
    ". try-mien/bin/activate": "benchmarks/five_minutes.py follows the page literally",
    "python -m venv fer && fer/bin/pip": "installs another program with TensorFlow",
    'mien compare best --data fer2013.parquet --peer "fer=': "needs it; test_compare_command.py has a peer",
    "curl": "tests/serving/test_client.py runs them against a service",
    "mien serve": "tests/serving/test_serve_command.py starts, asks and stops it",
}
"""The beginning of each command that is not run here, and why."""

ELSEWHERE = {
    "docs/finetune.md": "tests/test_own_classes.py",
    "docs/hub.md": "tests/hub/test_transfer.py",
    "docs/scale.md": "tests/training/test_ddp.py",
    "docs/sweep.md": "tests/tuning",
    "docs/score.md": "tests/cli/test_score_command.py",
}
"""Pages whose commands are run by tests of their own: long ones, or such as need a stand-in for another host."""

PYTHON_NOT_RUN = {
    "deepface": "needs deepface and TensorFlow",
    "fer.fer": "needs fer and TensorFlow",
    "mien.serving.client": "tests/serving/test_client.py runs it against a service",
}
"""A word that marks a block of Python that is not run here, and why."""


@dataclass(frozen=True)
class Command:
    """A command of a document.

    Attributes:
        page: the document, below the repository's root.
        text: as it stands there, without its prompt; a command over several lines is one.
        output: what stands below it.
    """

    page: str
    text: str
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def pages() -> list[Path]:
    """The README and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, languages: tuple[str, ...]) -> list[str]:
    """What stands in the page's blocks of these languages."""
    return [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def run_here() -> list[Path]:
    """The pages whose commands no test of their own runs."""
    return [page for page in pages() if str(page.relative_to(ROOT)) not in ELSEWHERE]


def commands(page: Path) -> list[Command]:
    """The page's commands, in order."""
    name = str(page.relative_to(ROOT))
    return [one for body in blocks(page, SHELL) for one in _commands(name, body)]


def _commands(page: str, body: str) -> Iterator[Command]:
    lines = re.sub(r"\\\n\s*", "", body).splitlines()
    if not any(line.startswith("$ ") for line in lines):
        yield from (Command(page, line) for line in lines if line.split(" ")[0] in TOOLS)
        return
    starts = [place for place, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(page, lines[start][2:], tuple(line for line in lines[start + 1 : end] if line))


def why_not(text: str, reasons: dict[str, str]) -> str | None:
    """Why a command is not run; None where it is."""
    return next((why for start, why in reasons.items() if text.startswith(start)), None)


def write_pictures(folder: Path) -> None:
    """Write what the documents call ``photo.jpg`` (matplotlib's sample photo) and ``clip.mp4`` (ten frames of it)."""
    photo = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    shutil.copy(photo, folder / "photo.jpg")
    picture = cv2.resize(cv2.imread(photo), (256, 300))
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 300))
    for step in range(10):
        frame = np.zeros((300, 320, 3), np.uint8)
        frame[:, 4 * step : 4 * step + 256] = picture
        writer.write(frame)
    writer.release()


def votes_of(faces: Faces) -> Faces:
    """The faces with eight FER+ votes for their label and two for neutral."""
    votes = np.zeros((len(faces), 10), np.uint8)
    votes[np.arange(len(faces)), np.array(FERPLUS_OF_EMOTION)[faces.emotion]] = 8
    votes[:, 0] += 2
    return replace(faces, votes=votes)
