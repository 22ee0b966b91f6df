"""Two processes take the same first steps as one, from memory and from shards."""

from __future__ import annotations

from pathlib import Path

from benchmarks import parallel
from conftest import write_recipe
from mien.data import Faces
from mien.data.shards.writer import write_shards

ORDER = {"block": 8, "lanes": 4, "window": 2}
STEPS = 10
"""Two epochs of four steps and half of the next one: also the order of later epochs agrees."""


def test_two_processes_take_the_steps_of_one(drawn: Faces, tmp_path: Path) -> None:
    """In memory one process, streamed two, both in float64."""
    phases = [{"name": "all", "train": "all", "epochs": 5, "optimizer": {"name": "adam", "lr": 0.001}}]
    recipe = write_recipe(tmp_path / "short.yaml", order=ORDER, phases=phases)
    write_shards(drawn, tmp_path / "shards", rows=24, block=8)
    common = (recipe, "--data", tmp_path / "shards", "--losses", STEPS, "--double")
    one = parallel.losses(1, *common, "--out", tmp_path / "one")
    two = parallel.losses(2, *common, "--out", tmp_path / "two", "--stream")
    assert len(one) == len(two) == STEPS
    assert max(one) > 1.05 * min(one)  # the batches differ by far more than the tolerance
    assert parallel.largest_difference(one, two) < parallel.TOLERANCE
