"""Shards: the same faces, block by block, in bounded memory; damage is one clear error that names the shard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Ran
from mien.data import Faces, load_faces
from mien.data.shards.reader import INDEX, Index, Shards
from mien.data.shards.writer import write_shards
from mien.data.writers import convert_faces
from mien.errors import DataError

T = TypeVar("T")


@pytest.fixture(scope="session")
def noise() -> Faces:
    """300 faces of noise with votes, the splits one after another, no two alike."""
    rng = np.random.default_rng(4)
    return Faces(
        images=rng.integers(0, 256, (300, 48, 48), dtype=np.uint8),
        emotion=rng.integers(0, 7, 300),
        usage=np.repeat(np.array([0, 1, 2], np.uint8), [230, 40, 30]),
        row=np.arange(300),
        votes=rng.integers(0, 11, (300, 10), dtype=np.uint8),
    )


@pytest.fixture(scope="session")
def folder(noise: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The noise in blocks of 16, four of them a file: four files of Training, one each of the tests."""
    out = tmp_path_factory.mktemp("shards") / "noise"
    write_shards(noise, out, rows=64, block=16)
    return out


def same(one: Faces, other: Faces) -> bool:
    names = ("images", "emotion", "usage", "row", "votes")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_every_face_comes_back_whichever_way_it_is_read(noise: Faces, folder: Path) -> None:
    shards = Shards.open(folder)
    assert sorted(path.name for path in folder.glob("*.parquet")) == [
        "PrivateTest-00000.parquet", "PublicTest-00000.parquet",
        *(f"Training-{number:05}.parquet" for number in range(4)),
    ]  # fmt: skip
    assert shards.splits() == noise.splits()
    assert len(shards) == 300
    assert shards.fingerprint == noise.fingerprint
    for split in ("Training", "PublicTest", "PrivateTest", "test"):
        assert same(shards.select(split), noise.select(split)), split
        assert shards.label_counts(split) == noise.label_counts(split)
    whole = load_faces(folder, cache=False)
    assert same(whole, noise)
    block = shards.split("Training").read(14)
    assert same(block, noise.take(slice(224, 230)))


@given(
    usage=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    rows=st.integers(1, 9),
    block=st.integers(1, 9),
    votes=st.booleans(),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splits_of_any_mixture_are_sorted_and_lose_nothing(
    usage: list[int], rows: int, block: int, votes: bool, noise: Faces, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n = len(usage)
    faces = replace(noise.take(slice(0, n)), usage=np.array(usage, np.uint8))
    faces = faces if votes else replace(faces, votes=None)
    shards, skipped = write_shards(faces, tmp_path_factory.mktemp("any") / "x", rows=rows, block=block)
    expected = faces.take(np.argsort(faces.usage, kind="stable"))
    assert skipped == ()
    assert shards.fingerprint == expected.fingerprint
    for split in faces.splits():
        found = shards.select(split)
        assert np.array_equal(found.images, expected.select(split).images)
        assert (found.votes is None) is not votes


def test_test_faces_without_label_keep_their_rows(noise: Faces, tmp_path: Path) -> None:
    faces = noise.take(np.arange(225, 250))
    faces.emotion[10:] = -1
    shards, _ = write_shards(faces, tmp_path / "x", block=8)
    assert shards.index.splits["PublicTest"].unlabelled == 15
    assert np.array_equal(shards.select("PublicTest").emotion, faces.select("PublicTest").emotion)


@pytest.mark.parametrize("layout", ["csv", "parquet", "folder"])
def test_every_layout_is_sharded_without_being_loaded(noise: Faces, tmp_path: Path, layout: str) -> None:
    source = convert_faces(noise, tmp_path / ("x" if layout == "folder" else f"x.{layout}"), layout)
    assert write_shards(source, tmp_path / "shards", block=16)[0].fingerprint == noise.fingerprint


def test_bad_rows_are_reported_or_left_out(noise: Faces, tmp_path: Path) -> None:
    table = convert_faces(noise.take(slice(0, 5)), tmp_path / "x.csv", "csv")
    table.write_text(table.read_text() + "3,Training,1 2 3\n")
    with pytest.raises(DataError, match="data row 6"):
        write_shards(table, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    shards, skipped = write_shards(table, tmp_path / "shards", skip_bad=True)
    assert (len(shards), len(skipped)) == (5, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda faces: replace(faces, emotion=np.full(len(faces), -1)), "Training faces without a label"),
        (lambda faces: faces.take(slice(0, 0)), "no faces to write"),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    noise: Faces, tmp_path: Path, spoil: Callable[[Faces], Faces], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_shards(spoil(noise), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_files_of_which_only_some_have_votes_are_refused(noise: Faces, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    for number, faces in enumerate((noise, replace(noise, votes=None))):
        convert_faces(faces, tmp_path / "mixed" / f"{number}.parquet", "parquet")
    with pytest.raises(DataError, match="only a part of the faces has FER\\+ votes"):
        write_shards(tmp_path / "mixed", tmp_path / "x")


def test_a_folder_that_is_not_empty_is_left_alone(noise: Faces, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="not an empty folder"):
        write_shards(noise, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_path_that_cannot_be_written_is_one_clear_error(noise: Faces, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_shards(noise, tmp_path / "file" / "shards")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no folder of shards"):
        Shards.open(tmp_path / "file")


def test_faces_that_are_also_in_training_are_found(noise: Faces, tmp_path: Path) -> None:
    images = noise.images.copy()
    images[[231, 269]] = images[[3, 200]]
    faces = replace(noise, images=images)
    shards, _ = write_shards(faces, tmp_path / "x", block=16)
    tests = faces.select("test")
    clean = shards.clean(tests)
    assert np.array_equal(clean, tests.clean(faces.select("Training")))
    assert np.flatnonzero(~clean).tolist() == [1, 39]


def outcome(do: Callable[[], T]) -> T | DataError:
    try:
        return do()
    except DataError as error:
        return error


def read_all(root: Path) -> Faces:
    return Shards.open(root).select("Training")


@pytest.fixture
def spoilt(folder: Path, tmp_path: Path) -> Path:
    """A copy whose files may be damaged."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_found_or_does_no_harm(spoilt: Path, noise: Faces, where: float, bit: int) -> None:
    """Some bytes of a parquet file, such as statistics, say nothing about its faces."""
    path = spoilt / "Training-00001.parquet"
    whole = path.read_bytes()
    data = bytearray(whole)
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    found = outcome(lambda: read_all(spoilt))
    path.write_bytes(whole)
    if isinstance(found, DataError):
        assert str(path) in str(found)
        assert "\n" not in str(found)
    else:
        assert same(found, noise.select("Training"))


@pytest.mark.parametrize("name", [b"image", b"emotion", b"ferplus_neutral"])
def test_a_flipped_bit_in_a_column_s_name_is_found_or_does_no_harm(spoilt: Path, noise: Faces, name: bytes) -> None:
    path = spoilt / "Training-00001.parquet"
    whole = path.read_bytes()
    errors = 0
    for match in re.finditer(name, whole):
        data = bytearray(whole)
        data[match.start()] ^= 1
        path.write_bytes(data)
        found = outcome(lambda: read_all(spoilt))
        errors += isinstance(found, DataError)
        assert str(path) in str(found) if isinstance(found, DataError) else same(found, noise.select("Training"))
    assert errors


def test_a_flipped_bit_of_a_pixel_is_one_clear_error(spoilt: Path, noise: Faces) -> None:
    path = spoilt / "Training-00002.parquet"
    data = path.read_bytes()
    where = data.index(noise.images[150].tobytes())
    path.write_bytes(data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
    with pytest.raises(DataError, match="the shard is damaged") as caught:
        read_all(spoilt)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes; it had"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "damaged"),
    ],
)
def test_a_lost_or_cut_shard_is_reported(spoilt: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = spoilt / "Training-00003.parquet"
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        read_all(spoilt)
    assert str(path) in str(caught.value)


def test_exchanged_shards_are_found(spoilt: Path) -> None:
    one, other = spoilt / "Training-00000.parquet", spoilt / "Training-00001.parquet"
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    with pytest.raises(DataError, match=r"Training-00000\.parquet"):
        read_all(spoilt)


@given(where=st.floats(0, 1, exclude_max=True), new=st.integers(0, 255))
@settings(max_examples=60)
def test_a_changed_index_is_refused(folder: Path, where: float, new: int) -> None:
    data = bytearray((folder / INDEX).read_bytes())
    at = int(where * len(data))
    old, data[at] = data[at], new
    text = data.decode("utf-8", "replace")
    found = outcome(lambda: Index.from_text(text, folder / INDEX))
    if isinstance(found, DataError):
        assert INDEX in str(found)
    else:
        assert old == new or chr(old).isspace()
        assert found == Shards.open(folder).index


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"checksum": 3, "index": {}}', "\x00"])
def test_an_index_that_is_none_is_refused(spoilt: Path, text: str) -> None:
    (spoilt / INDEX).write_text(text)
    with pytest.raises(DataError, match="the index is damaged"):
        Shards.open(spoilt)


def test_an_index_may_not_list_files_elsewhere(spoilt: Path) -> None:
    index = json.loads((spoilt / INDEX).read_text())["index"]
    index["splits"]["Training"]["files"][0]["name"] = "../Training-00000.parquet"
    with pytest.raises(ValueError, match="pattern"):
        Index.model_validate(index)


@pytest.mark.parametrize(("split", "message"), [("Valid", "there is no split"), ("test", "several splits")])
def test_a_split_that_cannot_be_streamed_is_refused(folder: Path, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Shards.open(folder).split(split)


PASS = """
import sys
from mien.data.shards.reader import Shards

def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

for root in sys.argv[1:]:
    faces = sum(len(block) for block in Shards.open(root).split("Training"))
    print(faces, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_holds_a_few_blocks_however_many_there_are(noise: Faces, tmp_path: Path) -> None:
    """30 MB of pixels, then 120 MB more: the peak grows by a tenth of that at most."""
    train = noise.select("Training")
    for name, times in (("small", 60), ("large", 240)):
        many = train.take(np.tile(np.arange(len(train)), times))
        write_shards(many, tmp_path / name, rows=1024, block=256)
    command = [sys.executable, "-c", PASS, tmp_path / "small", tmp_path / "large"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    (few, first), (many_faces, second) = (map(float, line.split()) for line in done.stdout.splitlines())
    grown = (many_faces - few) * 2304 / 2**20
    assert grown > 80
    assert second - first < grown / 10


def test_the_command_writes_shards_and_reports_them(mien: Callable[..., Ran], drawn_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    ran = mien("data", "convert", drawn_csv, out, "--to", "shards", "--rows", 50, "--block", 25)
    assert ran.code == 0, ran.err
    assert "wrote 150 faces to 5 shards" in ran.out
    faces = load_faces(drawn_csv)
    assert Shards.open(out).fingerprint == faces.take(np.argsort(faces.usage, kind="stable")).fingerprint
    ran = mien("data", "convert", drawn_csv, tmp_path / "x.csv", "--to", "csv", "--rows", 50)
    assert ran.code == 2
    assert "--rows and --block are for shards" in ran.err
