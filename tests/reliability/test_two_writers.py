"""Two processes that write the same thing at once: one is refused, or each leaves a whole file."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import mien._utils.files as files
from conftest import tiny_recipe
from mien.data import Faces, load_faces
from mien.data.writers import convert_faces
from mien.errors import RecipeError
from mien.training import Run, train
from mien.training.run_folder import LOCK

HOLD = """
import sys
from pathlib import Path
from mien._utils.files import locked

with locked(Path(sys.argv[1])) as free:
    print(free, flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_which_another_process_trains_is_refused_until_that_ends(
    tiny_run: Run, drawn: Faces, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    lock = out / "checkpoints" / LOCK
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with pytest.raises(RecipeError, match="another process trains into this folder") as caught:
            train(tiny_recipe(), drawn, out, seed=1, device="cpu")
        assert str(out) in str(caught.value)
        assert [path.name for path in out.rglob("*") if path.is_file()] == [LOCK]
        other.kill()
        other.wait()
    assert other.returncode == -signal.SIGKILL
    assert train(tiny_recipe(), drawn, out, seed=1, device="cpu").rows[-1]["val_loss"] == tiny_run.rows[-1]["val_loss"]


def test_a_run_in_the_same_process_is_refused_too(drawn: Faces, tmp_path: Path) -> None:
    refusals = []

    def again(row: object) -> None:
        with pytest.raises(RecipeError, match="another process trains") as caught:
            train(tiny_recipe(), drawn, tmp_path / "run", device="cpu", resume=True)
        refusals.append(caught.value)

    phases = [{"name": "a", "train": "head", "epochs": 1, "optimizer": {"name": "adam", "lr": 0.01}}]
    train(tiny_recipe(phases=phases), drawn, tmp_path / "run", device="cpu", on_epoch=again)
    assert len(refusals) == 1


def test_where_a_file_system_has_no_locks_all_may_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(tmp_path / "lock") as free:
        assert free


def test_what_killed_runs_left_half_written_goes_when_the_next_begins(drawn: Faces, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    halves = [out / ".best-abcdefgh.mien", out / "checkpoints" / ".1-a-abcdefgh.ckpt"]
    others = [out / ".best-of-all.mien", out / ".notes-abcdefgh.txt"]
    for path in [*halves, *others]:
        path.write_text("half")
    phases = [{"name": "a", "train": "head", "epochs": 1, "optimizer": {"name": "adam", "lr": 0.01}}]
    train(tiny_recipe(phases=phases), drawn, out, device="cpu")
    assert [path.exists() for path in halves] == [False, False]
    assert [path.exists() for path in others] == [True, True]


def write(task: tuple[Path, Path]) -> str:
    source, out = task
    return load_faces(convert_faces(load_faces(source), out, out.suffix[1:]), cache=False).fingerprint


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_processes_that_convert_to_the_same_file_leave_a_whole_one(drawn_csv: Path, tmp_path: Path, name: str) -> None:
    expected = load_faces(drawn_csv).fingerprint
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert set(pool.map(write, [(drawn_csv, tmp_path / name)] * 4)) == {expected}
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_half_file_that_a_killed_conversion_left_is_no_data(drawn_csv: Path, tmp_path: Path, suffix: str) -> None:
    """The folder is read as before: a hidden file beside the shards is no shard, nor a second table."""
    folder = tmp_path / "set"
    path = convert_faces(load_faces(drawn_csv), folder / f"x{suffix}", suffix[1:])
    (folder / f".x-abcdefgh{suffix}").write_bytes(path.read_bytes())
    (folder / f".y-abcdefgh{suffix}").write_bytes(path.read_bytes()[:2000])
    assert load_faces(folder).fingerprint == load_faces(drawn_csv).fingerprint
