"""Reproduction: the command that trains a bundle's model again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mien.errors import RecipeError
from mien.models.bundle import Bundle
from mien.training.recipe import Recipe, load_recipe, shipped_recipes


@dataclass(frozen=True)
class Reproduction:
    """The command that trains a bundle's model once more.

    Attributes:
        command: with ``D`` for the data set and ``RUN`` for the run's folder.
        recipe: what ``recipe.yaml`` must hold where the command names it; empty for shipped recipes.
    """

    command: str
    recipe: str = ""


def reproduce(bundle: Bundle) -> Reproduction:
    """The command for a bundle: its shipped recipe with the settings that were changed, or its recipe as a file.

    Raises:
        RecipeError: where the bundle does not say by which recipe it was trained, or this version cannot read it.
    """
    provenance = bundle.card.provenance
    if "recipe" not in provenance or "seed" not in provenance:
        raise RecipeError("this bundle does not say by which recipe and seed it was trained", bundle.path)
    try:
        recipe = Recipe.model_validate(provenance["recipe"])
    except ValidationError as error:
        raise RecipeError("its recipe does not fit this version of mien", bundle.path) from error
    changes = _changes(recipe)
    rest = f"--data D --out RUN --seed {provenance['seed']}"
    if changes is None:
        return Reproduction(f"mien train recipe.yaml {rest}", recipe.to_yaml())
    sets = [f"--set {shlex.quote(change)}" for change in changes]
    return Reproduction(" ".join(["mien train", recipe.name, *sets, rest]))


def _changes(recipe: Recipe) -> list[str] | None:
    """What ``--set`` must say to make the shipped recipe of that name this one; None where it cannot."""
    if recipe.name not in shipped_recipes():
        return None
    shipped = load_recipe(recipe.name).model_dump(mode="json")
    changes = list(_differences(shipped, recipe.model_dump(mode="json")))
    try:
        same = load_recipe(recipe.name, changes) == recipe
    except RecipeError:
        return None
    return changes if same else None


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """``key=value`` for every leaf that differs; a list of another length is one leaf."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key, value in new.items():
            yield from _differences(old[key], value, f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, value in enumerate(new):
            yield from _differences(old[place], value, f"{path}.{place}")
    elif old != new:
        yield f"{path.removeprefix('.')}={json.dumps(new)}"
