"""Another program on the same faces: a command that gets them and writes its prediction for each.

The command may live in a virtual environment of its own. It is run as ``COMMAND FACES.npz PREDICTIONS.csv``:

- ``FACES.npz`` holds ``images``, uint8 (N, 48, 48), gray, and ``row``, int64 (N,), each face's number in the data set;
  no labels.
- ``PREDICTIONS.csv`` does not exist yet. The command writes it, as a table or as lines of JSON
  (:func:`mien.evaluation.predictions.read_predictions`), and ends with exit code 0.
- The last line that it prints on its standard output, such as its version, is stored beside its figures.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import ModelError
from mien.evaluation.predictions import read_predictions

PROTOCOL = "It gets FACES.npz and PREDICTIONS.csv as its last two arguments, and writes the second."
LONGEST = 200
"""How many characters of what a command prints are kept."""


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Attributes:
        name: what to call it.
        command: how to run it, as in a shell, without pipes and the like.
    """

    name: str
    command: str

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Read ``NAME=COMMAND``.

        Raises:
            ModelError: where a part is missing.
        """
        name, _, command = text.partition("=")
        if not name.strip() or not command.strip():
            raise ModelError(f"{text!r} is not NAME=COMMAND", "--peer", PROTOCOL)
        return cls(name.strip(), command.strip())

    def predict(self, faces: Faces) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Run the command on faces.

        Returns:
            int64 (N,), the class that it predicts for each face; and ``command``, ``seconds`` of wall time, its start
            included, and ``says``, the last line that it printed.

        Raises:
            ModelError: where the command does not start, fails, or writes no predictions.
            DataError: where its predictions are not one for each face.
        """
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            images, predictions = Path(folder) / "faces.npz", Path(folder) / "predictions.csv"
            np.savez(images, images=faces.images, row=faces.row)
            start = time.perf_counter()
            printed = self._run(images, predictions)
            seconds = round(time.perf_counter() - start, 3)
            return read_predictions(predictions, faces), {"command": self.command, "seconds": seconds, "says": printed}

    def _run(self, images: Path, predictions: Path) -> str:
        where = f"peer {self.name}"
        try:
            command = [*shlex.split(self.command), str(images), str(predictions)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"its command cannot be run ({error})", where, PROTOCOL) from error
        if done.returncode:
            what = f"its command ended with exit code {done.returncode}: {_last(done.stderr) or 'it printed nothing'}"
            raise ModelError(what, where, PROTOCOL)
        if not predictions.is_file():
            raise ModelError("its command succeeded but wrote no predictions", where, PROTOCOL)
        return _last(done.stdout)


def _last(text: str) -> str:
    """The last line with anything on it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:LONGEST] if lines else ""
