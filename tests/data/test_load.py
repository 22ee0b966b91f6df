"""Every layout is recognised from its content, and read as the same faces."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mien.data import Faces, load_faces
from mien.data.faces import USAGES
from mien.data.writers import convert_faces
from mien.errors import BadRowError, DataError


def write_table(path: Path, faces: Faces, columns: Sequence[str], ending: str = "\n", quote: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns)]
    for image, emotion, usage in zip(faces.images, faces.emotion, faces.usage, strict=True):
        pixels = quote + " ".join(map(str, image.ravel())) + quote
        fields = {"emotion": emotion, "usage": USAGES[usage], "pixels": pixels}
        lines.append(",".join(str(fields[column.strip().lower()]) for column in columns))
    path.write_bytes((ending.join(lines) + ending).encode())
    return path


@pytest.mark.parametrize(
    "columns",
    [
        ["emotion", " Usage", " pixels"],
        ["emotion", "pixels", "Usage"],
        ["pixels", "emotion", "Usage"],
        [" Usage ", "pixels", "emotion"],
    ],
)
def test_tables_are_read_in_any_column_order(tmp_path: Path, some_faces: Faces, columns: list[str]) -> None:
    faces = load_faces(write_table(tmp_path / "any.csv", some_faces, columns))
    assert faces.fingerprint == some_faces.fingerprint
    assert faces.name == "any.csv"
    np.testing.assert_array_equal(faces.row, np.arange(42))


@pytest.mark.parametrize(("ending", "quote"), [("\r\n", ""), ("\n", '"'), ("\r\n", '"')])
def test_windows_line_ends_and_quotes(tmp_path: Path, some_faces: Faces, ending: str, quote: str) -> None:
    path = write_table(tmp_path / "t.csv", some_faces, ["emotion", "pixels", "Usage"], ending, quote)
    assert load_faces(path).fingerprint == some_faces.fingerprint


def test_a_table_needs_no_telling_name(tmp_path: Path, some_faces: Faces) -> None:
    path = write_table(tmp_path / "download (3)", some_faces, ["emotion", "pixels", "Usage"])
    assert load_faces(path).fingerprint == some_faces.fingerprint


def test_more_rows_than_one_block(tmp_path: Path, some_faces: Faces) -> None:
    many = some_faces.take(np.arange(300) % 42)
    path = write_table(tmp_path / "many.csv", many, ["emotion", "pixels", "Usage"])
    assert load_faces(path, cache=False).fingerprint == many.fingerprint


def test_the_archive_is_read_without_unpacking(tmp_path: Path, some_faces: Faces) -> None:
    table = write_table(tmp_path / "x.csv", some_faces, ["emotion", "pixels", "Usage"])
    with tarfile.open(tmp_path / "fer2013.tar.gz", "w:gz") as archive:
        archive.add(table, "fer2013/fer2013.csv")
    table.unlink()
    assert load_faces(tmp_path / "fer2013.tar.gz").fingerprint == some_faces.fingerprint
    assert load_faces(tmp_path).fingerprint == some_faces.fingerprint


def test_kaggles_pair_is_training_and_unlabelled_test(tmp_path: Path, some_faces: Faces) -> None:
    train, test = some_faces.take(np.arange(30)), some_faces.take(np.arange(30, 42))
    write_table(tmp_path / "train.csv", train, ["emotion", "pixels"], quote='"')
    write_table(tmp_path / "test.csv", test, ["pixels"])
    faces = load_faces(tmp_path, make_splits=False)
    np.testing.assert_array_equal(faces.images, some_faces.images)
    assert faces.splits() == {"Training": 30, "test": 12}
    assert faces.emotion[:30].tolist() == train.emotion.tolist()
    assert set(faces.emotion[30:].tolist()) == {-1}
    np.testing.assert_array_equal(faces.row, np.arange(42))
    assert load_faces(tmp_path / "train.csv", make_splits=False).splits() == {"Training": 30}
    unlabelled = load_faces(tmp_path)
    assert unlabelled.splits() == load_faces(tmp_path / "train.csv").splits() | {"test": 12}
    assert unlabelled.select("PublicTest").emotion.min() == 0
    assert load_faces(tmp_path / "test.csv").splits() == {"test": 12}


def test_of_several_tables_the_richest_is_read(tmp_path: Path, some_faces: Faces) -> None:
    few = some_faces.take(np.arange(5))
    write_table(tmp_path / "train.csv", few, ["emotion", "pixels"])
    write_table(tmp_path / "fer2013.csv", few, ["emotion", "pixels", "Usage"])
    assert len(load_faces(tmp_path)) == 5
    write_table(tmp_path / "icml_face_data.csv", some_faces, ["emotion", " Usage", " pixels"])
    faces = load_faces(tmp_path)
    assert faces.fingerprint == some_faces.fingerprint
    assert faces.name == tmp_path.name


def test_a_wrapping_folder_is_entered(tmp_path: Path, some_faces: Faces) -> None:
    write_table(tmp_path / "outer" / "fer2013" / "fer2013.csv", some_faces, ["emotion", "pixels", "Usage"])
    assert load_faces(tmp_path / "outer").fingerprint == some_faces.fingerprint


def test_two_unknown_tables_are_not_guessed_between(tmp_path: Path, some_faces: Faces) -> None:
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, some_faces, ["emotion", "pixels", "Usage"])
    with pytest.raises(DataError, match=r"a\.csv, b\.csv"):
        load_faces(tmp_path)


def test_tables_beside_images_do_not_count_as_faces(tmp_path: Path, some_faces: Faces) -> None:
    convert_faces(some_faces, tmp_path / "set", "folder")
    (tmp_path / "set" / "notes.csv").write_text("who,when\n")
    assert load_faces(tmp_path / "set").fingerprint == some_faces.fingerprint


def test_an_npz_is_read_with_its_votes(tmp_path: Path, some_faces: Faces) -> None:
    usage = np.array([str(USAGES[u]) for u in some_faces.usage])
    arrays = {"images": some_faces.images, "emotion": some_faces.emotion.astype("int8"), "usage": usage}
    np.savez(tmp_path / "faces.npz", **arrays, ferplus=some_faces.votes)
    faces = load_faces(tmp_path / "faces.npz")
    assert faces.fingerprint == some_faces.fingerprint
    np.testing.assert_array_equal(faces.votes, some_faces.votes)


def test_without_a_source_the_environment_names_one(
    tmp_path: Path, some_faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIEN_DATA", raising=False)
    with pytest.raises(DataError, match="MIEN_DATA"):
        load_faces()
    monkeypatch.setenv("MIEN_DATA", str(write_table(tmp_path / "x.csv", some_faces, ["emotion", "pixels", "Usage"])))
    assert load_faces().fingerprint == some_faces.fingerprint
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="no such file or folder"):
        load_faces()


def test_bad_rows_are_skipped_counted_and_listed(tmp_path: Path, some_faces: Faces) -> None:
    path = write_table(tmp_path / "x.csv", some_faces, ["emotion", "pixels", "Usage"])
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(" ", " 999 ", 1)
    lines[10] = "7" + lines[10][1:]
    lines[42] = lines[42][:50]
    path.write_text("\n".join(lines))
    with pytest.raises(BadRowError, match=r"x\.csv: data row 3 \(line 4\): it has 2305 pixels"):
        load_faces(path)
    faces = load_faces(path, skip_bad=True)
    good = [i for i in range(42) if i not in (2, 9, 41)]
    assert faces.fingerprint == some_faces.take(np.array(good)).fingerprint
    assert faces.row.tolist() == good
    assert [line.split(":")[1].strip() for line in faces.skipped] == [
        "data row 3 (line 4)",
        "data row 10 (line 11)",
        "data row 42 (line 43)",
    ]
    assert load_faces(path, skip_bad=True).skipped == faces.skipped


def test_progress_ends_at_the_total(tmp_path: Path, some_faces: Faces) -> None:
    path = write_table(tmp_path / "x.csv", some_faces, ["emotion", "pixels", "Usage"])
    folder = convert_faces(some_faces, tmp_path / "folder", "folder")
    shard = convert_faces(some_faces, tmp_path / "x.parquet", "parquet")
    for source, total, unit in ((path, path.stat().st_size, "bytes"), (folder, 42, "faces"), (shard, 42, "faces")):
        seen: list[tuple[int, int, str]] = []
        load_faces(source, cache=False, progress=lambda *step, seen=seen: seen.append(step))
        assert seen[-1] == (total, total, unit)
