"""A clock that jumps, forwards and back: nothing that is kept or decided goes by it."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from conftest import tiny_recipe
from mien.data import Faces, load, load_faces
from mien.data.cache import cache_folder
from mien.data.writers import convert_faces
from mien.export.exporter import export_model
from mien.training import Run, train
from support.interrupted_runs import same_weights, timeless

DAY = 86_400.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A wall clock that at each look stands days before or after the last; what it said."""
    said: list[float] = []
    jumps = itertools.cycle([0.0, 40 * DAY, -40 * DAY, 3 * DAY, -3650 * DAY])
    now = time.time()

    def jumped() -> float:
        said.append(now + next(jumps))
        return said[-1]

    monkeypatch.setattr(time, "time", jumped)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumped() * 1e9))
    return said


def test_a_run_is_the_same_by_any_clock(jumping: list[float], tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    assert time.time() != time.time()
    run = train(tiny_recipe(), drawn, tmp_path / "run", seed=1, device="cpu")
    assert same_weights(run.bundle, tiny_run.bundle)
    assert all(0 < row["seconds"] < 60 for row in run.rows)


def test_a_run_goes_on_though_its_files_are_from_the_future(
    jumping: list[float], tiny_run: Run, drawn: Faces, tmp_path: Path
) -> None:
    """The clock was set back by a year between the kill and the resumption, and one file is older than the epoch."""
    recipe, out = tiny_recipe(), tmp_path / "run"

    class KilledError(Exception):
        pass

    def kill(row: dict[str, object]) -> None:
        if row["epoch"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, drawn, out, seed=1, device="cpu", on_epoch=kill)
    for number, path in enumerate(sorted(path for path in out.rglob("*") if path.is_file())):
        moment = -1000 if number == 0 else 4e9 - number
        os.utime(path, (moment, moment))
    again = train(recipe, drawn, out, seed=1, device="cpu", resume=True)
    assert timeless(again.rows) == timeless(tiny_run.rows)
    assert same_weights(again.bundle, tiny_run.bundle)


def test_the_cache_goes_by_content_whatever_the_times_say(
    jumping: list[float], some_faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    table = convert_faces(some_faces, tmp_path / "x.csv", "csv")
    load_faces(table)
    (entry,) = cache_folder().iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(load, "Builder", None)
        for source, kept in ((4e9, -1000), (-1000, 4e9)):
            os.utime(table, (source, source))
            os.utime(entry, (kept, kept))
            assert load_faces(table).fingerprint == some_faces.fingerprint
    table.write_text(table.read_text().replace("\n0,", "\n6,", 1))
    os.utime(table, (-1000, -1000))
    assert load_faces(table).emotion[0] == 6


def test_files_hold_no_times(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same export a month later has the same bytes."""
    data = []
    for name, ahead in (("a", 0.0), ("b", 30 * DAY)):
        now = time.time() + ahead
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda now=now: now)
            data.append(export_model(tiny_run.out, tmp_path / f"{name}.onnx").path.read_bytes())
    assert data[0] == data[1]
