"""Choose what a model's predictions show: one of its outputs, and the shares of the classes that are to be expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from mien.emotions import Output
from mien.errors import ModelError
from mien.models.bundle import Bundle, Card

Prior = str | Path | Mapping[str, float]
"""Shares of the classes: ``balanced``, ``fer2013``, a mapping of each class's name to its share, or its file."""
_MEND = "Name balanced, fer2013, or a YAML or JSON file that maps each class to its share, such as {Happy: 0.4, ...}."


def outputs(card: Card) -> list[Output]:
    """The outputs that the model has; with one head only the default."""
    return list(Output) if len(card.heads) == 2 else [Output.DEFAULT]


def with_output(bundle: Bundle, output: str | None = None, prior: Prior | None = None) -> Bundle:
    """The model with another output, for faces with other shares of the classes; its file stays as it is.

    Args:
        bundle: the model.
        output: ``default``, ``fer2013`` (its first head alone) or ``ferplus`` (its second head alone); None leaves it.
        prior: the shares of the classes among the faces to be predicted: ``balanced``, ``fer2013`` (as in the labels of
            the training data), a mapping from each class's name to its share, or a YAML or JSON file of one. Shares
            are scaled to sum to 1. The probabilities are multiplied by the ratio of these shares to those that the
            output presupposes (Saerens et al. 2002). None leaves the latter.

    Raises:
        ModelError: where the model has no such output or does not state the shares that it presupposes, or the prior
            cannot be used.
    """
    card = bundle.card
    output = card.calibration.output if output is None else output
    if output not in list(Output):
        raise ModelError(f"there is no output {output!r}", bundle.path, f"Choose one of {', '.join(Output)}.")
    if output == Output.FERPLUS and output not in outputs(card):
        raise ModelError("it has no FER+ head", bundle.path, "Leave --output away.")
    chosen = card.calibration.model_copy(update={"output": Output(output)})
    if prior is not None:
        if chosen.output not in chosen.shares:
            raise ModelError("it does not state its training data's shares of the classes", bundle.path)
        chosen = chosen.model_copy(update={"prior": _shares(prior, card)})
    return replace(bundle, card=card.model_copy(update={"calibration": chosen}))


def _shares(prior: Prior, card: Card) -> tuple[float, ...]:
    if prior == "balanced":
        return (1 / len(card.labels),) * len(card.labels)
    if prior == "fer2013":
        return card.calibration.shares[Output.FER2013]
    where = prior if isinstance(prior, str | Path) else "prior"
    found = _read(Path(prior)) if isinstance(prior, str | Path) else dict(prior)
    if not isinstance(found, dict) or set(found) != set(card.labels):
        raise ModelError(f"it must have the share of each of {', '.join(card.labels)}, and no other", where, _MEND)
    try:
        shares = np.array([found[label] for label in card.labels], np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError("its shares must be numbers", where, _MEND) from error
    if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.sum() > 0):
        raise ModelError("its shares must be at least 0, and not all 0", where, _MEND)
    return tuple((shares / shares.sum()).tolist())


def _read(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"it cannot be read as a prior ({type(error).__name__})", path, _MEND) from error
