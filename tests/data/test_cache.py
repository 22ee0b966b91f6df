"""The cache is fast, keyed by content, and never trusted blindly."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mien.data import Faces, load, load_faces
from mien.data.cache import cache_folder
from mien.data.writers import convert_faces


@pytest.fixture
def table(tmp_path: Path, some_faces: Faces, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return convert_faces(some_faces, tmp_path / "x.csv", "csv")


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the source was read a second time")

    monkeypatch.setattr(load, "Builder", refuse)


def the_file() -> Path:
    (path,) = cache_folder().iterdir()
    return path


def test_the_second_load_reads_no_source(table: Path, some_faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_faces(table)
    forbid_reading(monkeypatch)
    second = load_faces(table)
    assert second.fingerprint == first.fingerprint == some_faces.fingerprint
    np.testing.assert_array_equal(second.row, first.row)
    assert second.name == "x.csv"


def test_votes_are_cached(table: Path, tmp_path: Path, some_faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    path = convert_faces(some_faces, tmp_path / "x.parquet", "parquet")
    load_faces(path)
    forbid_reading(monkeypatch)
    np.testing.assert_array_equal(load_faces(path).votes, some_faces.votes)


def test_changed_bytes_are_read_anew_even_with_the_same_size_and_time(table: Path) -> None:
    before, stat = load_faces(table), table.stat()
    text = table.read_text()
    table.write_text(text.replace("\n0,", "\n6,", 1))
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_faces(table).emotion[0] == 6 != before.emotion[0]


def test_a_renamed_image_is_read_anew(tmp_path: Path, table: Path, some_faces: Faces) -> None:
    folder = convert_faces(some_faces, tmp_path / "folder", "folder")
    load_faces(folder)
    (folder / "train" / "angry" / "Training_0.png").rename(folder / "train" / "happy" / "Training_0.png")
    assert load_faces(folder).emotion[0] == 3


@pytest.mark.parametrize("where", [0, 5, 60, 300, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_noticed_and_the_file_rebuilt(table: Path, some_faces: Faces, where: float) -> None:
    load_faces(table)
    data = bytearray(the_file().read_bytes())
    sound = bytes(data)
    data[int(where if where >= 1 or where == 0 else where * len(data))] ^= 4
    the_file().write_bytes(data)
    assert load_faces(table).fingerprint == some_faces.fingerprint
    assert the_file().read_bytes() == sound


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_a_cut_file_is_noticed_and_rebuilt(table: Path, some_faces: Faces, keep: float) -> None:
    load_faces(table)
    sound = the_file().read_bytes()
    the_file().write_bytes(sound[: int(keep if keep >= 1 else keep * len(sound))])
    assert load_faces(table).fingerprint == some_faces.fingerprint
    assert the_file().read_bytes() == sound


def test_a_folder_that_cannot_be_written_is_no_error(
    table: Path, tmp_path: Path, some_faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file"))
    assert load_faces(table).fingerprint == some_faces.fingerprint


def test_without_cache_nothing_is_written(table: Path) -> None:
    load_faces(table, cache=False)
    assert not cache_folder().exists()


def test_skipping_has_its_own_entry(table: Path) -> None:
    """A load that skipped rows must not answer for one that would have raised."""
    load_faces(table)
    load_faces(table, skip_bad=True)
    assert len(list(cache_folder().iterdir())) == 2


def fingerprint(path: Path) -> str:
    return load_faces(path).fingerprint


def test_processes_that_write_at_once_do_no_harm(table: Path, some_faces: Faces) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert set(pool.map(fingerprint, [table] * 8)) == {some_faces.fingerprint}
    assert the_file().suffix == ".safetensors"
    assert fingerprint(table) == some_faces.fingerprint
