"""The bundle: a trained model as one file.

A ``.mien`` file is an uncompressed zip with three members, so that any tool can look inside:

- ``model.yaml``: structure, labels, preprocessing, calibration and provenance, readable;
- ``weights.safetensors``: the weights, float32, or float16 for the shipped models' kernels and matrices;
- ``model.onnx``: the network's graph, which takes its weights from ``weights.safetensors``.

One file means that a figure can name it by its SHA-256, and that saving is atomic. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien._utils.files import atomic
from mien.emotions import LABELS
from mien.errors import ModelError
from mien.models.onnx.graph import WEIGHTS_FILE
from mien.models.preprocessing import Preprocessing
from mien.models.spec import Head, NetworkSpec, heads

CARD_FILE, GRAPH_FILE = "model.yaml", "model.onnx"
SUFFIX, ONNX_SUFFIX = ".mien", ".onnx"
BEST = f"best{SUFFIX}"
"""The bundle's name inside a run folder."""


class Calibration(BaseModel):
    """How logits become probabilities: softmax(logits / temperature), a temperature for each head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, gt=0)
    votes_temperature: float = Field(default=1.0, gt=0)
    """Of the second head, where there is one."""

    def of(self, head: Head) -> float:
        """The head's temperature."""
        return self.votes_temperature if head == Head.VOTES else self.temperature


class Card(BaseModel):
    """All of a bundle but the numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    network: NetworkSpec
    labels: tuple[str, ...] = LABELS
    preprocessing: Preprocessing = Preprocessing()
    calibration: Calibration = Calibration()
    provenance: dict[str, Any] = {}
    """Recipe, data fingerprint, seed, versions, hardware, metrics: what reproduces the model."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The questions that the model answers; the last is the one whose answer people are shown."""
        return heads(self.network)


_ORIGIN = f"Name the {SUFFIX} bundle that it was made from."


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        card: structure and settings.
        weights: float32 arrays by name.
        graph: the ONNX graph, without weights.
        sha256: of the file, hex; empty for a bundle that was never saved.
        path: the file.
        stored: how many numbers the model holds, where its weights stay inside the graph: an exported ONNX file.
    """

    card: Card
    weights: Mapping[str, NDArray[np.float32]]
    graph: bytes
    sha256: str = ""
    path: Path | None = None
    stored: int | None = None

    @property
    def parameters(self) -> int:
        """How many numbers the bundle's weights hold."""
        return sum(array.size for array in self.weights.values()) if self.stored is None else self.stored

    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """The weights, for what builds the network anew.

        Raises:
            ModelError: for an exported ONNX file, whose weights are folded, perhaps rounded, and inside the graph.
        """
        if self.stored is not None:
            raise ModelError("an exported model only runs; its weights stay in its graph", self.path, _ORIGIN)
        return self.weights


def save_bundle(bundle: Bundle, path: str | Path, half: bool = False) -> Bundle:
    """Write a bundle as one file; equal bundles give equal bytes. A reader sees the old file or the new, never half.

    Args:
        bundle: the model.
        path: the file.
        half: round the kernels and matrices to half precision: the file has half the bytes, and probabilities differ
            by some 1e-4. Vectors (biases and norms) stay as they are.

    Returns:
        The bundle as it is read back, with its file's path and SHA-256.
    """
    stored = {name: array.astype(np.float16) if half and array.ndim > 1 else array
              for name, array in sorted(bundle.weights.items())}  # fmt: skip
    buffer = io.BytesIO()
    card = yaml.safe_dump(bundle.card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    weights = safetensors.numpy.save(stored)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((CARD_FILE, card.encode()), (WEIGHTS_FILE, weights), (GRAPH_FILE, bundle.graph)):
            archive.writestr(zipfile.ZipInfo(name), data)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return Bundle(bundle.card, _in_single(stored), bundle.graph, digest, Path(path))


def _in_single(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.float32]]:
    return {name: array.astype(np.float32, copy=False) for name, array in weights.items()}


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check it: checksums, settings, labels. A session checks that weights and graph fit.

    Raises:
        ModelError: where the file is no bundle, is damaged, or its parts do not belong together.
    """
    data = path.read_bytes()
    members = _members(data, path)
    card = _card(members[CARD_FILE], path)
    try:
        weights = _in_single(safetensors.numpy.load(members[WEIGHTS_FILE]))
    except safetensors.SafetensorError as error:
        raise ModelError(f"its weights are unreadable ({error})", path, "Copy or train it again.") from error
    return Bundle(card, weights, members[GRAPH_FILE], hashlib.sha256(data).hexdigest(), path)


def _members(data: bytes, path: Path) -> dict[str, bytes]:
    """The three members; zipfile checks each one's CRC-32 as it reads."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("a bundle's members are not compressed")
            return {name: archive.read(name) for name in (CARD_FILE, WEIGHTS_FILE, GRAPH_FILE)}
    except zipfile.BadZipFile as error:
        raise ModelError("not a mien bundle, or a damaged one", path, "Copy or train it again.") from error
    except KeyError as error:
        raise ModelError(f"not a mien bundle: {error.args[0]}", path, f"Name a {SUFFIX} file.") from error
    except (NotImplementedError, RuntimeError, EOFError, ValueError) as error:  # what odd headers lead zipfile to
        raise ModelError(f"a damaged bundle ({error})", path, "Copy or train it again.") from error


def _card(text: bytes, path: Path) -> Card:
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{CARD_FILE} is unreadable", path, "Copy or train it again.") from error
    return checked_card(settings, CARD_FILE, path)


def checked_card(settings: Any, what: str, path: Path) -> Card:
    """The card of these settings; ``what`` is their name in errors.

    Raises:
        ModelError: where they do not fit this version of mien.
    """
    try:
        card = Card.model_validate(settings)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise ModelError(f"{what} does not fit this version of mien ({faults})", path) from error
    if len(card.labels) != card.network.classes:
        raise ModelError(f"it has {card.network.classes} classes but {len(card.labels)} labels", path)
    return card
