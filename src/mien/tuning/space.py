"""The space of a search: which settings of a recipe vary, and over what. A YAML file, one setting a line::

phases.0.optimizer.lr: {kind: loguniform, low: 1.0e-4, high: 1.0e-2}
augment.rotation: {kind: uniform, low: 0, high: 20}
phases.0.epochs: {kind: int, low: 2, high: 6}
batch_size: {kind: choice, values: [32, 64, 128]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mien.errors import RecipeError
from mien.training.recipe import load_recipe

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str | None
_STRICT = ConfigDict(extra="forbid", frozen=True)
_FIXED = ("data", "name", "summary")
"""Settings that say what a run is about; a search over them would compare what cannot be compared."""
_MEND = "Look at: mien sweep --help, and docs/sweep.md."


class _Range(BaseModel):
    model_config = _STRICT

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class Uniform(_Range):
    """A number from ``low`` to ``high``, all as likely."""

    kind: Literal["uniform"]


class LogUniform(_Range):
    """A number from ``low`` to ``high``, all orders of magnitude as likely."""

    kind: Literal["loguniform"]
    low: float = Field(gt=0)


class Int(_Range):
    """A whole number from ``low`` to ``high``, in steps of ``step``."""

    kind: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)


class Choice(BaseModel):
    """One of some values."""

    model_config = _STRICT

    kind: Literal["choice"]
    values: list[Value] = Field(min_length=1)


Parameter = Annotated[Uniform | LogUniform | Int | Choice, Field(discriminator="kind")]
Space = dict[str, Parameter]
_ADAPTER: TypeAdapter[Space] = TypeAdapter(Annotated[Space, Field(min_length=1)])


def load_space(path: str | Path) -> Space:
    """Read a space file; a RecipeError where it cannot be read, or does not say what varies over what."""
    path = Path(path)
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"it cannot be read ({error.strerror or error})", path, "Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError("not readable as YAML", path, str(error).replace("\n", " ")) from error
    try:
        space = _ADAPTER.validate_python(settings)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError("; ".join(faults), path, _MEND) from error
    fixed = [key for key in space if key.partition(".")[0] in _FIXED]
    if fixed:
        raise RecipeError(f"{fixed[0]} cannot vary in a search", path, "Take it out.")
    return space


def changes_for(values: Mapping[str, Value]) -> list[str]:
    """Values as ``--set`` takes them: ``key=value``, with a value in YAML."""
    return [f"{key}={yaml.safe_dump(value).splitlines()[0]}" for key, value in values.items()]


def check_space(space: Space, recipe: str | Path, changes: list[str]) -> None:
    """Raise a RecipeError unless a recipe takes each setting at both ends of its range, or with each value."""
    for key, parameter in space.items():
        for value in parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high):
            load_recipe(recipe, [*changes, *changes_for({key: value})])


def suggest(trial: Trial, name: str, parameter: Parameter) -> None:
    """Have Optuna choose a trial's value of a setting."""
    if isinstance(parameter, Choice):
        trial.suggest_categorical(name, parameter.values)
    elif isinstance(parameter, Int):
        trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step)
    else:
        trial.suggest_float(name, parameter.low, parameter.high, log=isinstance(parameter, LogUniform))
