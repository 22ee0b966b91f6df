"""Full and read-only disks: one line that says so, nothing half-written, and what stood there before still stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ran, write_recipe
from mien.data import Faces, load_faces
from mien.models.load import load_bundle
from mien.training import Run
from support.disk_fixtures import THOROUGH, Disk, fill, remount
from support.interrupted_runs import same_weights, timeless

Mien = Callable[..., Ran]
Command = Callable[[Run, Path, Path, Path], list[object]]

COMMANDS: dict[str, Command] = {
    "convert to csv": lambda run, data, crop, out: ["data", "convert", data, out / "x.csv", "--to", "csv"],
    "convert to a folder": lambda run, data, crop, out: ["data", "convert", data, out / "faces", "--to", "folder"],
    "convert to parquet": lambda run, data, crop, out: ["data", "convert", data, out / "x.parquet", "--to", "parquet"],
    "draw faces": lambda run, data, crop, out: ["data", "toy", out / "toy.csv", "--n", 99],
    "example pictures": lambda run, data, crop, out: ["data", "examples", data, out / "x.png"],
    "check": lambda run, data, crop, out: ["data", "check", data, "--out", out / "check"],
    "export to onnx": lambda run, data, crop, out: ["export", run.out, out / "x.onnx"],
    "export to torchscript": lambda run, data, crop, out: ["export", run.out, out / "x.pt", "--to", "torchscript"],
    "report": lambda run, data, crop, out: ["report", run.out, "--data", data, "--out", out / "report.html"],
    "evaluate": lambda run, data, crop, out: ["evaluate", run.out, "--data", data, "--out", out / "evaluated"],
    "predict to csv": lambda run, data, crop, out: [*predict(run, crop), "--csv", out / "x.csv"],
    "predict to parquet": lambda run, data, crop, out: [*predict(run, crop), "--parquet", out / "x.parquet"],
    "annotate": lambda run, data, crop, out: [*predict(run, crop), "--annotate", out / "copies"],
}


SLOW = {"example pictures", "check", "export to torchscript", "report"}


def predict(run: Run, crop: Path) -> list[object]:
    return ["predict", crop, "--model", run.out, "--detector", "none"]


@pytest.fixture(params=[name for name in COMMANDS if THOROUGH or name not in SLOW])
def command(
    request: pytest.FixtureRequest, tiny_run: Run, drawn_csv: Path, crops: list[Path]
) -> Callable[..., list[object]]:
    return lambda out: COMMANDS[request.param](tiny_run, drawn_csv, crops[0], out)


def refused(ran: Ran, out: Path, why: str) -> None:
    """One line, which names the place and the reason; nothing of a file."""
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran
    assert ran.err.startswith("error: ")
    assert str(out) in ran.err
    assert why in ran.err
    assert "Traceback" not in ran.err
    assert [path.name for path in out.rglob("*") if path.is_file()] in ([], ["ballast"])


def test_on_a_full_disk_a_command_ends_with_one_line(
    mien: Mien, command: Callable[..., list[object]], disk: Disk
) -> None:
    out = disk("size=4m")
    fill(out)
    refused(mien(*command(out)), out, "No space left on device")


def test_on_a_read_only_disk_a_command_ends_with_one_line(
    mien: Mien, command: Callable[..., list[object]], disk: Disk
) -> None:
    out = disk("size=4m")
    remount(out, "ro")
    refused(mien(*command(out)), out, "Read-only file system")


def test_a_file_in_the_way_is_said_in_one_line(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    ran = mien("export", tiny_run.out, tmp_path / "file" / "x.onnx")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {tmp_path / 'file' / 'x.onnx'}: File exists. Choose another place.\n"
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_leaves_the_old_file(mien: Mien, drawn_csv: Path, tiny_run: Run, disk: Disk) -> None:
    out = disk("size=4m")
    commands = {"x.csv": ["data", "convert", drawn_csv, "--to", "csv"], "x.onnx": ["export", tiny_run.out]}
    for name, arguments in commands.items():
        (out / name).write_text("old")
        ballast = fill(out, leave=20_000)
        assert mien(*arguments[:3], out / name, *arguments[3:]).code == 2
        assert (out / name).read_text() == "old"
        ballast.unlink()
        assert sorted(path.name for path in out.iterdir()) == [name]
        (out / name).unlink()


@pytest.mark.parametrize("part", [0.1, 0.4, 0.6, 0.8, 0.9] if THOROUGH else [0.6])
def test_a_run_on_a_disk_that_fills_up_goes_on_once_there_is_room(
    mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path, disk: Disk, part: float
) -> None:
    """There is room for a part of what the run writes."""
    whole = sum(path.stat().st_size for path in tiny_run.out.rglob("*"))
    place = disk("size=16m")
    ballast = fill(place, leave=int(part * whole))
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), place / "run"
    arguments = ["train", recipe, "--data", drawn_csv, "--out", out, "--seed", 1, "--device", "cpu"]
    ran = mien(*arguments)
    *_, last = ran.err.splitlines()
    assert ran.code == 2
    assert ran.err.count("error: ") == 1
    assert last.startswith(f"error: {out}")
    assert last.endswith("No space left on device. Free some space and run it again.")
    assert not [path for path in out.rglob(".*") if path.is_file()]
    ballast.unlink()
    again = mien(*arguments, "--resume", "--json")
    assert again.code == 0, again.err
    assert same_weights(load_bundle(out), tiny_run.bundle)
    assert timeless(json.loads(again.out)["history"]) == timeless(tiny_run.rows)


def test_a_run_cannot_begin_on_a_read_only_disk(mien: Mien, drawn_csv: Path, tmp_path: Path, disk: Disk) -> None:
    out = disk("size=1m")
    remount(out, "ro")
    ran = mien("train", write_recipe(tmp_path / "tiny.yaml"), "--data", drawn_csv, "--out", out / "run")
    refused(ran, out, "Read-only file system")


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_cache_that_cannot_be_written_costs_only_time(
    some_faces: Faces, drawn_csv: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    place = disk("size=1m")
    fill(place, leave=50_000) if state == "full" else remount(place, "ro")
    monkeypatch.setenv("MIEN_CACHE", str(place / "cache"))
    first, second = load_faces(drawn_csv), load_faces(drawn_csv)
    assert first.fingerprint == second.fingerprint
    assert not [path for path in place.rglob("*") if path.is_file() and path.name != "ballast"]
