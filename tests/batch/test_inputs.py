"""What ``mien score`` takes: every kind of input, cut into chunks that hold each row once."""

from __future__ import annotations

import csv
import importlib.util
import random
from collections.abc import Iterator
from itertools import islice, pairwise, repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.batch.chunks import Chunk, Shard, chunk_names, chunk_shards
from mien.batch.inputs import Collection, open_collection
from mien.batch.parquet_input import Cursor, read_shard
from mien.batch.storage import source, unreadable, walk
from mien.errors import DataError, ImageError, MissingExtraError, printable
from support.collections_of_images import write_images

NAMES = st.lists(st.none() | st.text(st.characters(), max_size=20), max_size=40)


def names_of(collection: Collection, size: int = 3) -> list[str | None]:
    return [name for chunk in collection.chunks(size) for name in chunk.names]


def check_chunks(chunks: list[Chunk], rows: int, size: int) -> None:
    """That the chunks hold every row once, in order, and are alike in size."""
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.first for chunk in chunks] == [number * size for number in range(len(chunks))]
    assert sum(chunk.rows for chunk in chunks) == rows
    assert all(chunk.rows == size for chunk, _ in pairwise(chunks))
    assert len({chunk.digest for chunk in chunks}) == len(chunks)


@given(NAMES, st.integers(1, 7))
def test_names_are_cut_into_chunks_and_come_back(names: list[str | None], size: int) -> None:
    chunks = list(chunk_names(names, size))
    check_chunks(chunks, len(names), size)
    assert [name for chunk in chunks for name in chunk.names] == names
    assert chunks == list(chunk_names(iter(names), size))


def test_a_list_without_end_gives_its_chunks_as_they_are_asked_for() -> None:
    chunks = list(islice(chunk_names(repeat("a.png"), 3), 4))
    assert [(chunk.first, chunk.rows) for chunk in chunks] == [(0, 3), (3, 3), (6, 3), (9, 3)]


@given(st.lists(st.integers(0, 12), max_size=8), st.integers(1, 9))
def test_shards_are_cut_into_chunks_that_hold_each_row_once(sizes: list[int], size: int) -> None:
    shards = [Shard(f"/{number}", str(number), rows, "mark") for number, rows in enumerate(sizes)]
    chunks = list(chunk_shards(iter(shards), size))
    check_chunks(chunks, sum(sizes), size)
    found = [
        (one.shard.name, row)
        for chunk in chunks
        for one in chunk.segments
        for row in range(one.start, one.start + one.rows)
    ]
    assert found == [(one.name, row) for one in shards for row in range(one.rows)]
    assert all(sum(one.rows for one in chunk.segments) == chunk.rows for chunk in chunks)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 700), st.integers(1, 400), st.integers(1, 90), st.randoms())
def test_a_cursor_reads_any_chunks_of_a_file(
    tmp_path: Path, rows: int, group: int, size: int, chance: random.Random
) -> None:
    """In order, with gaps and going back, over row groups of any size."""
    path = write_images(tmp_path / "a.parquet", [b"%d" % row for row in range(rows)], group)
    segments = [one for chunk in chunk_shards([read_shard(str(path), "a")], size) for one in chunk.segments]
    some = chance.sample(segments, chance.randint(0, len(segments)))
    order = sorted(some, key=lambda one: one.start) + chance.sample(segments, min(3, len(segments)))
    cursor = Cursor()
    for segment in order:
        wanted = range(segment.start, segment.start + segment.rows)
        assert list(cursor.read(segment)) == [(f"a#{row}", b"%d" % row) for row in wanted]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.lists(st.sampled_from(["a", "b", "a.b", "a-b", "B", "a b"]), min_size=1, max_size=3).map(tuple)))
def test_folders_come_in_the_order_of_all_their_paths(tmp_path: Path, paths: set[tuple[str, ...]]) -> None:
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    root.mkdir()
    for folders in paths:
        path = root.joinpath(*folders[:-1]) / f"{folders[-1]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert list(walk(str(root))) == sorted(str(path) for path in root.rglob("*.png"))


def test_folders_leave_out_what_is_hidden_or_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces" / "deep").mkdir(parents=True)
    for name in ("b.PNG", "a.jpg", "deep/c.webp", ".hidden.png", "notes.txt"):
        (tmp_path / "faces" / name).write_bytes(b"")
    (tmp_path / "faces" / "deep" / "loop").symlink_to(tmp_path / "faces" / "deep")
    monkeypatch.chdir(tmp_path)
    found = open_collection("faces")
    assert (found.kind, found.base) == ("folder", str(tmp_path))
    assert names_of(found)[:3] == ["faces/a.jpg", "faces/b.PNG", "faces/deep/c.webp"]


def test_lists_may_be_text_csv_tsv_or_parquet(tmp_path: Path) -> None:
    names = ["a.png", "sub/b, c.png", "http://host/d.png", "ü.png"]
    (tmp_path / "a.txt").write_text("\ufeff" + "\r\n".join(names) + "\n\n", encoding="utf-8")
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"a{suffix}").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([("id", " Path "), *enumerate(names)])
    pq.write_table(pa.table({"id": range(4), "uri": pa.array(names).dictionary_encode()}), tmp_path / "a.parquet")
    for suffix in (".txt", ".csv", ".tsv", ".parquet"):
        found = open_collection(str(tmp_path / f"a{suffix}"))
        assert (found.kind, found.base, names_of(found)) == ("list", str(tmp_path), names), suffix


def test_a_list_may_lack_names_and_need_not_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,uri\n1,\n2\n3,\xff.png\n")
    names = names_of(open_collection(str(tmp_path / "a.csv")))
    assert names == ["", None, "\udcff.png"]
    assert printable("\udcff.png") == "\\xff.png"
    for name in names[:2]:
        read = source(name, "/")
        assert callable(read)
        with pytest.raises(ImageError, match="it has no address"):
            read()


def test_a_folder_of_shards_comes_by_name(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "b.parquet", [b"1", b"2"])
    write_images(tmp_path / "d" / "a" / "x.parquet", [b"0"])
    found = open_collection(str(tmp_path / "d"))
    (chunk,) = found.chunks(5)
    names = [row for one in chunk.segments for row in Cursor().read(one)]
    assert [data for _, data in names] == [b"0", b"1", b"2"]
    assert [name for name, _ in names] == [
        f"{tmp_path}/d/a/x.parquet#0",
        *(f"{tmp_path}/d/b.parquet#{n}" for n in (0, 1)),
    ]


def test_rows_bear_the_names_that_a_shard_has_for_them(tmp_path: Path) -> None:
    path = write_images(tmp_path / "a.parquet", [b"1", None], path=["x/1.png", None])
    (chunk,) = open_collection(str(path)).chunks(5)
    assert list(Cursor().read(chunk.segments[0])) == [("x/1.png", b"1"), (f"{path}#1", None)]


def test_hugging_faces_structs_are_images(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b"}, None], kind)
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    (chunk,) = open_collection(str(tmp_path / "a.parquet")).chunks(5)
    assert [data for _, data in Cursor().read(chunk.segments[0])] == [b"1", None, None]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("gone.txt", None, "there is no such file or folder"),
        ("a.png", b"", "neither a folder nor a list of images"),
        ("a.csv", b"id,name\n1,x\n", "names none of the columns uri"),
        ("a.csv", b"", "it has none"),
        ("a.csv", b'uri\n"' + b"x" * 200_000, "is not CSV"),
        ("a.parquet", b"PAR1", "the parquet file is damaged"),
    ],
)
def test_unknown_or_damaged_input_is_one_error(tmp_path: Path, name: str, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=what):
        names_of(open_collection(str(tmp_path / name)))


def test_a_table_without_images_or_names_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pixels": ["1 2"], "emotion": [3]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="it has pixels, emotion"):
        open_collection(str(tmp_path / "a.parquet"))


def test_folders_of_both_kinds_or_of_none_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither an image nor a parquet file"):
        open_collection(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"")
    write_images(tmp_path / "b.parquet", [b"1"])
    with pytest.raises(DataError, match="both images and parquet files"):
        names_of(open_collection(str(tmp_path)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.sampled_from([".txt", ".csv", ".tsv", ".parquet"]))
def test_lists_of_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    try:
        names = names_of(open_collection(str(path)))
    except (DataError, MissingExtraError) as error:
        names = [error.where]
    assert all(name is None or isinstance(name, str) for name in names)


def test_a_damaged_shard_gives_its_good_rows_first(tmp_path: Path) -> None:
    path = write_images(tmp_path / "a.parquet", [bytes([row]) * 500 for row in range(40)], group=10)
    (chunk,) = open_collection(str(path)).chunks(40)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(bytes(data))
    good = []
    with pytest.raises(DataError, match="the parquet file is damaged"):
        good.extend(data for _, data in Cursor().read(chunk.segments[0]))
    cursor = Cursor()
    for _ in range(2):  # what failed once fails again, and does not go on from the middle
        with pytest.raises(DataError):
            list(cursor.read(chunk.segments[0]))


@pytest.fixture
def memory() -> Iterator[str]:
    """An fsspec file system in memory, with three images and a list of them."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name in ("b.png", "a/c.png", "a/.hidden.png"):
        system.pipe_file(f"/faces/{name}", name.encode())
    system.pipe_file("/faces/list.txt", b"b.png\nmemory://faces/a/c.png\nnone.png\n")
    yield "memory://faces"
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_addresses_are_read_by_fsspec(memory: str) -> None:
    folder = open_collection(memory)
    assert (folder.kind, names_of(folder)) == ("folder", [f"{memory}/a/c.png", f"{memory}/b.png"])
    listed = open_collection(f"{memory}/list.txt")
    assert (listed.base, len(names_of(listed))) == (memory, 3)
    first, second, third = (source(name, listed.base) for name in names_of(listed))
    assert callable(first)
    assert callable(second)
    assert callable(third)
    assert (first(), second()) == (b"b.png", b"a/c.png")
    with pytest.raises(ImageError, match="No such file"):
        third()


def test_addresses_that_nothing_reads_are_one_error(memory: str) -> None:
    with pytest.raises(DataError, match="there is nothing at this address"):
        open_collection(f"{memory}/none")
    with pytest.raises(DataError, match=r"this address cannot be used \(Protocol not known"):
        open_collection("nosuch://bucket/list.txt")
    read = source("nosuch://a.png", "/")
    assert callable(read)
    with pytest.raises(ImageError, match="could not be fetched"):
        read()


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed, so nothing is missing")
def test_a_missing_plugin_is_named(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "a.txt").write_text("a.png\nnosuch://b.png\ns3://bucket/c.png\n")
    for name in ("s3://bucket/list.txt", str(tmp_path / "a.txt")):
        with pytest.raises(MissingExtraError, match="s3fs reads s3://"):
            names_of(open_collection(name))


def test_a_unreadable_image_says_why() -> None:
    read = unreadable("it holds no image")
    assert callable(read)
    with pytest.raises(ImageError, match="it holds no image"):
        read()
