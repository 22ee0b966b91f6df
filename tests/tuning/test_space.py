"""Space files: what varies over what, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_recipe
from mien.errors import RecipeError
from mien.training import load_recipe
from mien.tuning.space import changes_for, check_space, load_space

GOOD = """
phases.0.optimizer.lr: {kind: loguniform, low: 1e-4, high: 1.0e-2}
augment.rotation: {kind: uniform, low: 0, high: 20}
phases.0.epochs: {kind: int, low: 2, high: 6, step: 2}
batch_size: {kind: choice, values: [32, 64]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_space_is_read_as_it_is_written(tmp_path: Path) -> None:
    space = load_space(written(tmp_path, GOOD))
    found = {key: one.model_dump() for key, one in space.items()}
    assert found == {
        "phases.0.optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2},
        "augment.rotation": {"kind": "uniform", "low": 0.0, "high": 20.0},
        "phases.0.epochs": {"kind": "int", "low": 2, "high": 6, "step": 2},
        "batch_size": {"kind": "choice", "values": [32, 64]},
    }
    check_space(space, write_recipe(tmp_path / "tiny.yaml"), [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("{}", "at least 1 item"),
        ("a: [1", "not readable as YAML"),
        ("- a", "valid dictionary"),
        ("batch_size: {kind: grid, values: [1]}", "batch_size: Input tag 'grid'"),
        ("batch_size: {values: [1]}", "batch_size: Unable to extract tag"),
        ("batch_size: {kind: choice, values: []}", "values: List should have at least 1 item"),
        ("batch_size: {kind: choice, values: [[1]]}", "batch_size"),
        ("batch_size: {kind: int, low: 4, high: 4}", "low must be below high"),
        ("batch_size: {kind: int, low: 1.5, high: 4}", "low: Input should be a valid integer"),
        ("batch_size: {kind: int, low: 1, high: 4, step: 0}", "step"),
        ("average: {kind: loguniform, low: 0, high: 1}", "low: Input should be greater than 0"),
        ("average: {kind: uniform, low: 0, high: 1, log: true}", "log: Extra inputs are not permitted"),
        ("data.validation: {kind: choice, values: [PrivateTest]}", "data.validation cannot vary in a search"),
        ("name: {kind: choice, values: [a]}", "name cannot vary in a search"),
    ],
)
def test_what_is_no_space_is_one_clear_error(tmp_path: Path, text: str, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=f"{path}: .*{what}") as caught:
        load_space(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_space(tmp_path / "none.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KIND = st.fixed_dictionaries(
    {"kind": st.sampled_from(["uniform", "loguniform", "int", "choice"])},
    optional={"low": JSON, "high": JSON, "step": JSON, "values": JSON},
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.dictionaries(st.text(max_size=8), KIND | JSON, max_size=3) | JSON)
def test_whatever_a_file_holds_it_is_a_space_or_refused(tmp_path: Path, found: Any) -> None:
    path = written(tmp_path, yaml.safe_dump(found))
    try:
        space = load_space(path)
    except RecipeError:
        return
    assert space
    assert all(one.kind == "choice" or one.low < one.high for one in space.values())


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("phases.7.epochs: {kind: int, low: 1, high: 2}", "'phases.7.epochs' leads nowhere"),
        ("batch_size: {kind: int, low: 0, high: 8}", "batch_size: Input should be greater than or equal to 1"),
        ("no_such: {kind: int, low: 0, high: 8}", "no_such: Extra inputs"),
        ("class_weights: {kind: choice, values: [share, heavy]}", "class_weights"),
    ],
)
def test_a_recipe_that_does_not_take_a_setting_is_reported_before_any_trial(
    tmp_path: Path, setting: str, what: str
) -> None:
    space = load_space(written(tmp_path, setting))
    with pytest.raises(RecipeError, match=what):
        check_space(space, write_recipe(tmp_path / "tiny.yaml"), [])


def test_values_come_back_from_their_changes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml")
    values = {"phases.0.optimizer.lr": 1.25e-5, "batch_size": 48, "class_weights": "none", "calibrate": True,
              "average": None}  # fmt: skip
    found = load_recipe(recipe, changes_for(values))
    assert found.phases[0].optimizer.lr == 1.25e-5
    assert (found.batch_size, found.class_weights, found.calibrate, found.average) == (48, "none", True, None)
