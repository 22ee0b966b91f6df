"""What a network is, as plain settings: written into recipes and bundles, read without torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class MobileNetSpec(BaseModel):
    """MobileNet v1 cut after a block (Howard et al. 2017, arXiv:1704.04861, table 1), with a dense head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["mobilenet"] = "mobilenet"
    cut: int = Field(default=12, ge=1, le=13)
    """The last depthwise-separable block of the network."""
    stem_stride: Literal[1, 2] = 2
    """Stride of the first convolution; 1 doubles the resolution of every later layer."""
    strides: dict[int, Literal[1, 2]] = {}
    """Strides of blocks (1 to 13) where they are to differ from the paper's, to spend resolution elsewhere."""
    channels: Literal[1, 3] = 1
    """Input channels of the first convolution; 1 holds the three-channel kernel summed (same result for gray faces)."""
    votes: bool = False
    """Whether a second dense head beside the first gives what people would vote, where the first gives the label."""
    classes: int = Field(default=7, ge=2)

    def stride(self, block: int) -> int:
        """The stride of a block's depthwise convolution; blocks count from 1."""
        return self.strides.get(block, 2 if block in (2, 4, 6, 12) else 1)


class CompactSpec(BaseModel):
    """MobileNet v1's first three blocks, then separable blocks that add to their input: small, but deep.

    Residual connections: He et al. 2016, arXiv:1512.03385; in separable blocks, Sandler et al. 2018, arXiv:1801.04381.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["compact"] = "compact"
    depth: tuple[int, int] = (5, 2)
    """How many residual blocks of 128 channels at 12x12, and of ``width`` channels at 6x6."""
    width: int = Field(default=248, ge=8)
    """Channels at 6x6."""
    votes: bool = False
    """As :attr:`MobileNetSpec.votes`."""
    classes: int = Field(default=7, ge=2)


class CnnSpec(BaseModel):
    """The article's plain network: three convolutions and two dense layers, 318,407 parameters for 7 classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["cnn"] = "cnn"
    classes: int = Field(default=7, ge=2)


class Head(StrEnum):
    """The two questions that a network may answer of a face."""

    LABELS = "labels"
    """Which label has the data set given it?"""
    VOTES = "votes"
    """The FER+ consensus: the emotion that most annotators chose."""


NetworkSpec = Annotated[MobileNetSpec | CompactSpec | CnnSpec, Field(discriminator="name")]


def heads(spec: NetworkSpec) -> tuple[Head, ...]:
    """The questions that the network answers, one for each of its heads."""
    two = isinstance(spec, MobileNetSpec | CompactSpec) and spec.votes
    return (Head.LABELS, Head.VOTES) if two else (Head.LABELS,)
