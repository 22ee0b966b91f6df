"""Recipes: a training run as a readable file, and changes to it from the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.errors import RecipeError
from mien.models.preprocessing import Preprocessing
from mien.models.spec import CnnSpec, NetworkSpec
from mien.training.augmentation import Augment
from mien.training.blocks import Blocks
from mien.training.distillation import Distillation

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Optimizer(BaseModel):
    """Which optimizer, in Keras' terms."""

    model_config = _STRICT

    name: Literal["adam", "nadam", "sgd", "adamw"]
    lr: float = Field(gt=0)
    """Learning rate at the start of the phase."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD only."""
    decay: float = Field(default=0.0, ge=0)
    """SGD only: the rate at step t is ``lr / (1 + decay * t)``, as in Keras' legacy optimizers."""
    epsilon: float = Field(default=1e-7, gt=0)
    """Adam, AdamW and Nadam: Keras' default, where PyTorch's is 1e-8."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW only, on kernels and matrices, not on norms and biases (Loshchilov and Hutter 2019, arXiv:1711.05101)."""


class EarlyStopping(BaseModel):
    """Stop once validation accuracy has not grown by more than ``min_delta`` for ``patience`` epochs."""

    model_config = _STRICT

    min_delta: float = Field(ge=0)
    patience: int = Field(ge=1)
    restore_best: bool = True
    """End with the weights of the best epoch, not of the last."""


class Plateau(BaseModel):
    """Multiply the learning rate by ``factor`` after ``patience`` epochs without a gain in validation accuracy."""

    model_config = _STRICT

    min_delta: float = Field(ge=0)
    factor: float = Field(gt=0, lt=1)
    patience: int = Field(ge=1)
    floor: float = Field(default=0.0, ge=0)


class OneCycle(BaseModel):
    """The learning rate climbs straight to its peak, ``lr``, and falls along half a cosine to zero.

    Source: Smith and Topin 2018, arXiv:1708.07120, with the cosine of Loshchilov and Hutter 2017, arXiv:1608.03983.
    """

    model_config = _STRICT

    warmup: float = Field(ge=0, lt=1)
    """The part of the phase's steps in which the rate climbs."""
    start: float = Field(default=0.04, gt=0, le=1)
    """Where the climb begins, as a part of the peak."""

    def factor(self, step: int, steps: int) -> float:
        """What the peak is multiplied by in a step of a phase of ``steps`` steps; steps count from 0."""
        rise = self.warmup * steps
        if step < rise:
            return self.start + (1 - self.start) * step / rise
        return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


class Phase(BaseModel):
    """A stretch of training with one optimizer and one set of trainable layers."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    train: Literal["head", "all"] | int
    """What trains: the head, everything, or everything from this block on."""
    optimizer: Optimizer
    epochs: int = Field(ge=1)
    early_stopping: EarlyStopping | None = None
    plateau: Plateau | None = None
    one_cycle: OneCycle | None = None
    """Without it the rate is constant, but for what ``plateau`` and SGD's ``decay`` do to it."""
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    """In this phase, in place of the recipe's."""


class Roles(BaseModel):
    """Which split plays which part."""

    model_config = _STRICT

    train: str = "Training"
    validation: str = "PublicTest"
    test: str = "PrivateTest"


class Recipe(BaseModel):
    """All that decides a training run, but for the data and the seed."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    summary: str
    """One sentence: what this recipe is."""
    network: NetworkSpec
    imagenet: bool = False
    """Start from the published ImageNet weights, as far as the network shares layers with MobileNet."""
    start: str | None = None
    """Start from a trained model instead: a shipped model's name, a bundle, or the folder of a run. Network and
    preprocessing are then its own; the head is new unless the model has the same classes."""
    batch_norm: Literal["frozen", "train"] = "train"
    """``frozen``: statistics stay those of ImageNet, or of the model that it starts from, throughout."""
    data: Roles = Roles()
    preprocessing: Preprocessing = Preprocessing()
    batch_size: int = Field(default=64, ge=1)
    order: Blocks | None = None
    """The order of the faces in an epoch: all of them shuffled, or an order that shards can follow."""
    augment: Augment = Augment()
    class_weights: Literal["none", "share", "inverse", "effective"] = "none"
    """``share``: each class weighs its share of the training set, so that rare classes weigh less (the article's
    choice, the opposite of balancing); ``inverse``: n / (classes * count), which balances; ``effective``: balances by
    the effective number of faces, which grows ever more slowly with their count (Cui et al. 2019, arXiv:1901.05555)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The part of each label that is spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567, section 7).
    """
    votes_weight: float = Field(default=1.0, gt=0)
    """What the second head's loss weighs beside the first's 1, where the network has ``votes``."""
    average: float | None = Field(default=None, gt=0, lt=1)
    """Judge and keep a running mean of the weights that forgets by this factor a step (Polyak and Juditsky 1992)."""
    distill: Distillation | None = None
    """Learn from a trained model's answers too."""
    calibrate: bool = False
    """Fit the bundle's temperatures on the validation split once training is over."""
    phases: list[Phase] = Field(min_length=1)

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with mien."""
    files = resources.files("mien.training").joinpath("recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(recipe: str | Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe by its name or from a YAML file, and apply changes.

    Args:
        recipe: a shipped recipe's name, or a path ending in ``.yaml`` or ``.yml``.
        changes: ``key=value`` pairs; a key such as ``phases.0.epochs`` leads into the recipe, a value is YAML.

    Raises:
        RecipeError: where there is no such recipe, or it does not hold together.
    """
    try:
        settings = yaml.safe_load(_read(recipe))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError("not readable as YAML", recipe, str(error).replace("\n", " ")) from error
    if not isinstance(settings, dict):
        raise RecipeError("a recipe is a YAML mapping of settings", recipe)
    for change in changes:
        _apply(settings, change)
    return _validate(settings, str(recipe))


def recipe_file(recipe: str | Path) -> Path | None:
    """The file of ``recipe``; None where it is a shipped recipe's name."""
    return Path(recipe) if Path(recipe).suffix in (".yaml", ".yml") else None


def _read(recipe: str | Path) -> str:
    path = recipe_file(recipe)
    if path is not None:
        if not path.is_file():
            raise RecipeError("no such file", path, f"Shipped recipes: {', '.join(shipped_recipes())}.")
        return path.read_text(encoding="utf-8")
    if str(recipe) not in shipped_recipes():
        raise RecipeError(f"there is no recipe {str(recipe)!r}", mend=f"Choose one of {', '.join(shipped_recipes())}.")
    return resources.files("mien.training").joinpath("recipes", f"{recipe}.yaml").read_text(encoding="utf-8")


def _apply(settings: dict[str, Any], change: str) -> None:
    """Set one value inside nested mappings and lists; mappings that are missing are made."""
    key, equals, value = change.partition("=")
    *path, last = key.split(".")
    if not equals or not all([*path, last]):
        raise RecipeError(f"{change!r} is not key=value", "--set", "For example: --set phases.0.epochs=2")
    place: Any = settings
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(value)
    except (IndexError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(f"{key!r} leads nowhere in this recipe", "--set", "Look at: mien summary RECIPE") from error


def _validate(settings: dict[str, Any], where: str) -> Recipe:
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError("; ".join(faults), where, "Mend the file or the --set.") from error
    if recipe.imagenet and isinstance(recipe.network, CnnSpec):
        raise RecipeError("imagenet weights are not for the network cnn", where)
    names = [phase.name for phase in recipe.phases]
    if len(set(names)) < len(names):
        raise RecipeError("two phases have the same name", where)
    return recipe
