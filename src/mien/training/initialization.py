"""What a recipe becomes on given data: other classes, and a trained model to start from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mien.emotions import LABELS
from mien.errors import RecipeError
from mien.models.bundle import Bundle
from mien.models.load import load_bundle, shipped_models
from mien.models.networks.build import Network
from mien.training.recipe import Recipe

HEADS = ("head.", "votes.")
"""How the names of the heads' weights begin; all others are the trunk's."""


def starting_model(recipe: Recipe) -> Bundle | None:
    """The bundle whose trunk the recipe starts from, or None.

    Raises:
        ModelError: where it cannot be read, or is an exported ONNX file.
    """
    if recipe.start is None:
        return None
    bundle = load_bundle(recipe.start)
    bundle.state()
    return bundle


def adapt_recipe(recipe: Recipe, labels: tuple[str, ...], start: Bundle | None, has_votes: bool = True) -> Recipe:
    """The recipe for faces of these classes.

    Network and preprocessing become those of the model that it starts from. On classes of one's own the head gets as
    many outputs as there are classes, and what only the seven emotions have is left out: the FER+ head, and a
    shipped model as a teacher. Without FER+ votes (``has_votes``) the FER+ head is left out, too.
    """
    changes: dict[str, Any] = {}
    votes = bool(getattr(recipe.network, "votes", False)) and has_votes
    network = recipe.network
    if start is not None:
        network = start.card.network.model_copy(update={"classes": network.classes})
        changes |= {"imagenet": False, "preprocessing": start.card.preprocessing}
    if labels != LABELS:
        votes = False
        if recipe.network.classes == len(LABELS):
            network = network.model_copy(update={"classes": len(labels)})
        if recipe.distill is not None and recipe.distill.teacher in shipped_models():
            changes["distill"] = None
    if "votes" in type(network).model_fields:
        network = network.model_copy(update={"votes": votes})
    return recipe.model_copy(update=changes | {"network": network})


def load_backbone(network: Network, start: Bundle, labels: tuple[str, ...]) -> None:
    """Fill a network with a model's trunk; with its heads, too, where the model has the same classes.

    Raises:
        RecipeError: where the two do not fit.
    """
    same = start.card.labels == labels
    own = network.state_dict()
    taken = {
        name: torch.from_numpy(np.array(array))
        for name, array in start.state().items()
        if name in own and (same or not name.startswith(HEADS))
    }
    trunk = {name for name, value in own.items() if value.is_floating_point() and not name.startswith(HEADS)}
    if trunk - set(taken) or any(own[name].shape != value.shape for name, value in taken.items()):
        raise RecipeError("its layers are not those of the network", start.path, "Start from another model.")
    network.load_state_dict(taken, strict=False)


def initialize_from(start: Bundle | None) -> dict[str, str] | None:
    """The provenance entry of the model that training started from."""
    return None if start is None else {"name": start.card.name, "sha256": start.sha256}
