"""A streamed run ends as the run in memory does, bit for bit; also where it was killed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ran, tiny_recipe, write_recipe
from mien.data import Faces, load_faces
from mien.data.shards.reader import Shards
from mien.data.shards.writer import write_shards
from mien.models.load import load_bundle
from mien.training import Run, train
from support.interrupted_runs import killed_in_step, same_weights, timeless

ORDER = {"block": 8, "lanes": 4, "window": 2}
PHASES = [{"name": "all", "train": "all", "epochs": 3, "optimizer": {"name": "adam", "lr": 0.001}}]


@pytest.fixture(scope="module")
def shards(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The drawn faces in blocks of 8, three of them a file."""
    return write_shards(drawn, tmp_path_factory.mktemp("stream") / "shards", rows=24, block=8)[0]


@pytest.fixture(scope="module")
def in_memory(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained in memory, in the order that the shards can follow."""
    faces, out = load_faces(shards.root, cache=False), tmp_path_factory.mktemp("memory") / "run"
    return train(tiny_recipe(order=ORDER, phases=PHASES), faces, out, seed=1, device="cpu")


def test_a_streamed_run_ends_as_the_run_in_memory(shards: Shards, in_memory: Run, tmp_path: Path) -> None:
    streamed = train(tiny_recipe(order=ORDER, phases=PHASES), shards, tmp_path / "run", seed=1, device="cpu")
    assert timeless(streamed.rows) == timeless(in_memory.rows)
    assert same_weights(streamed.bundle, in_memory.bundle)
    again = train(
        tiny_recipe(order=ORDER, phases=PHASES), load_faces(shards.root), tmp_path / "run", seed=1, resume=True
    )
    assert again.rows == streamed.rows


def test_the_command_streams_and_resumes_to_the_same_end(
    mien: Callable[..., Ran], shards: Shards, in_memory: Run, tmp_path: Path
) -> None:
    """Four steps an epoch; SIGKILL in step 3 of epoch 2."""
    recipe, out = write_recipe(tmp_path / "short.yaml", order=ORDER, phases=PHASES), tmp_path / "run"
    arguments = ["train", recipe, "--data", shards.root, "--stream", "--out", out, "--seed", 1, "--device", "cpu"]
    assert killed_in_step(4 + 3, *arguments)
    assert len((out / "history.csv").read_text().splitlines()) == 1 + 1
    ran = mien(*arguments, "--resume", "--json")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert timeless(result["history"]) == timeless(in_memory.rows)
    assert "--stream" in result["command"]
    assert result["test"]["clean"] is not None
    assert same_weights(load_bundle(out), in_memory.bundle)


def test_a_folder_without_index_is_not_streamed(mien: Callable[..., Ran], drawn_csv: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "short.yaml")
    ran = mien("train", recipe, "--data", drawn_csv.parent, "--stream", "--out", tmp_path / "run")
    assert ran.code == 2
    assert "--to shards" in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
