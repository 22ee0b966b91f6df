"""The bundle: a trained model as one file.

A ``.mien`` file is an uncompressed zip with three members, so that any tool can look inside:

- ``model.yaml``: structure, labels, preprocessing, calibration and provenance, readable;
- ``weights.safetensors``: the weights;
- ``model.onnx``: the network's graph, which takes its weights from ``weights.safetensors``.

One file means that a figure can name it by its SHA-256, and that saving is atomic. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError

from mien._utils.files import atomic
from mien.emotions import LABELS, Output
from mien.errors import ModelError
from mien.models.onnx.graph import WEIGHTS_FILE
from mien.models.preprocessing import Preprocessing
from mien.models.spec import Head, NetworkSpec, heads

CARD_FILE, GRAPH_FILE = "model.yaml", "model.onnx"
SUFFIX, ONNX_SUFFIX = ".mien", ".onnx"
BEST = f"best{SUFFIX}"
"""The bundle's name inside a run folder."""


ONLY_HEAD = "its only head"
"""The output of a model with one head, in words."""


class Answer(BaseModel):
    """How the default output of a model with two heads is made from their logits.

    It is ``(weight * fer2013 + (1 - weight) * ferplus - exponent * log(prior)) / temperature``, where each head's
    logits are divided by its own temperature, and prior is each class's share among the FER+ votes of the training
    faces: logit adjustment (Menon et al. 2021, arXiv:2007.07314) of a log-linear blend.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=0.0, ge=0, le=1)
    exponent: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)

    def __str__(self) -> str:
        blend = f"{self.weight:g} FER2013 head + {1 - self.weight:g} FER+ head"
        if self.weight in (0, 1):
            blend = "FER2013 head" if self.weight else "FER+ head"
        return blend + f" / prior^{self.exponent:g}" * (self.exponent > 0)


class Calibration(BaseModel):
    """How logits become probabilities: those of each head, softmax(logits / temperature), and those of the outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, gt=0)
    votes_temperature: float = Field(default=1.0, gt=0)
    """Of the second head, where there is one."""
    answer: Answer = Answer()
    """The default output, where there are two heads; with one it is that head."""
    shares: dict[Output, tuple[PositiveFloat, ...]] = {}
    """Of each output the shares of the classes that it presupposes, as in its training data; each sums to 1."""
    output: Output = Output.DEFAULT
    """The output that predictions show."""
    prior: tuple[NonNegativeFloat, ...] | None = None
    """The shares of the classes among the faces to be predicted, where those that the output presupposes differ."""

    def of(self, head: Head) -> float:
        """The head's temperature."""
        return self.votes_temperature if head == Head.VOTES else self.temperature

    def last_temperature(self, heads: Collection[Head]) -> float:
        """What the output's logits are divided by before the softmax."""
        if len(heads) == 2 and self.output == Output.DEFAULT:
            return self.answer.temperature
        return self.of(Head.VOTES if self.output == Output.FERPLUS else Head.LABELS)

    def factors(self, heads: Collection[Head]) -> dict[Head, float]:
        """What each head's logits are multiplied by in the output; heads without a part in it are left out."""
        if len(heads) == 1 or self.output != Output.DEFAULT:
            head = Head.VOTES if self.output == Output.FERPLUS else Head.LABELS
            return {head: 1 / self.of(head)}
        parts = {Head.LABELS: self.answer.weight, Head.VOTES: 1 - self.answer.weight}
        return {head: part / self.of(head) / self.answer.temperature for head, part in parts.items() if part}

    def bias(self, heads: Collection[Head]) -> NDArray[np.float64]:
        """What is added to the sum of the logits, float64 (C,), or (1,) where that is 0."""
        bias, answer = np.zeros(1), self.answer
        if len(heads) == 2 and self.output == Output.DEFAULT and answer.exponent:
            bias = -answer.exponent / answer.temperature * np.log(self.shares[Output.FERPLUS])
        if self.prior is not None:
            with np.errstate(divide="ignore"):  # a class that does not occur
                bias = bias + np.log(self.prior) - np.log(self.shares[self.output])
        return bias

    def combine(self, logits: Mapping[Head, NDArray[np.floating]]) -> NDArray[np.float64]:
        """The output's logits, float64 (N, C), from each head's, float (N, C); predictions show their softmax."""
        parts = [factor * np.asarray(logits[head], np.float64) for head, factor in self.factors(logits).items()]
        return sum(parts, self.bias(logits))

    def describe(self, heads: Collection[Head]) -> str:
        """The output in words, such as ``0.1 FER2013 head + 0.9 FER+ head / prior^0.375``."""
        names = {Output.FER2013: "FER2013 head", Output.FERPLUS: "FER+ head", Output.DEFAULT: str(self.answer)}
        text = ONLY_HEAD if len(heads) == 1 else f"{self.output}: {names[self.output]}"
        return text if self.prior is None else f"{text}, prior {' '.join(f'{share:.3g}' for share in self.prior)}"


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
        """The questions that the model answers, one for each of its heads."""
        return heads(self.network)

    @property
    def output(self) -> str:
        """What predictions are made from, in words."""
        return self.calibration.describe(self.heads)

    @property
    def title(self) -> str:
        """The model's name; of two heads, with its output in words."""
        return self.name if len(self.heads) == 1 else f"{self.name} ({self.output})"


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


def save_bundle(bundle: Bundle, path: str | Path) -> Bundle:
    """Write a bundle as one file; equal bundles give equal bytes. A reader sees the old file or the new, never half.

    Returns:
        The bundle with its file's path and SHA-256.
    """
    buffer = io.BytesIO()
    card = yaml.safe_dump(bundle.card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    weights = safetensors.numpy.save(dict(sorted(bundle.weights.items())))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((CARD_FILE, card.encode()), (WEIGHTS_FILE, weights), (GRAPH_FILE, bundle.graph)):
            archive.writestr(zipfile.ZipInfo(name), data)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return Bundle(bundle.card, bundle.weights, bundle.graph, digest, Path(path))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check it: checksums, settings, labels. A session checks that weights and graph fit.

    Raises:
        ModelError: where the file is no bundle, is damaged, or its parts do not belong together.
    """
    data = path.read_bytes()
    members = _members(data, path)
    card = _card(members[CARD_FILE], path)
    try:
        weights = safetensors.numpy.load(members[WEIGHTS_FILE])
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
    calibration = card.calibration
    if {len(shares) for shares in [*calibration.shares.values(), calibration.prior] if shares} - {len(card.labels)}:
        raise ModelError("its calibration has not as many shares as there are labels", path)
    if Output.FERPLUS not in calibration.shares and len(card.heads) == 2 and calibration.answer.exponent:
        raise ModelError("its answer has an exponent, but it states no shares of the FER+ votes", path)
    return card
