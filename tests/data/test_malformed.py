"""Bad input: the command answers with exit code 2 and one line that names the file and the fault."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import Ran

PIXELS = " ".join(["7"] * 2304)
GOOD = f"3,{PIXELS},Training\n"
HEADER = "emotion,pixels,Usage\n"


def table(*rows: str, header: str = HEADER, name: str = "bad.csv") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(header + "".join(rows))
        return folder / name

    return write


def raw(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


def image_bytes(form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 48), dtype=np.uint8)).save(buffer, form)
    return buffer.getvalue()


def in_folder(name: str, data: bytes) -> Callable[[Path], Path]:
    """A set of one good image, and the given file beside it; the command gets the folder."""

    def write(folder: Path) -> Path:
        raw("set/train/angry/good.png", image_bytes())(folder)
        raw(f"set/{name}", data)(folder)
        return folder / "set"

    return write


def archive(folder: Path, keep: float, name: str = "fer2013/fer2013.csv") -> Path:
    rng = np.random.default_rng(0)
    rows = [f"3,{' '.join(map(str, rng.integers(0, 256, 2304)))},Training\n" for _ in range(20)]
    data = (HEADER + "".join(rows)).encode()
    path = folder / "fer2013.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    return path


def parquet(folder: Path, keep: float = 1.0, **columns: object) -> Path:
    default = {"image": [cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()] * 3, "emotion": [0, 1, 2]}
    path = folder / "bad.parquet"
    pq.write_table(pa.table(columns or default), path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    return path


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "bad.npz", **arrays)
    return folder / "bad.npz"


def flipped_parquet(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, 500, dtype=np.uint8).tobytes() for _ in range(50)]
    path = parquet(folder, image=noise, emotion=[0] * 50)
    data = bytearray(path.read_bytes())
    data[:200] = b"PAR1" + bytes(196)
    path.write_bytes(data)
    return path


def parquet_with_a_flipped_name(folder: Path) -> Path:
    """The names of columns stand in the footer: of one of them the first letter is no UTF-8 any more."""
    path = parquet(folder, image=[b"a face"], emotion=[0])
    data = bytearray(path.read_bytes())
    for match in re.finditer(b"emotion", data):
        data[match.start()] ^= 0x80
    path.write_bytes(data)
    return path


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


ZEROS = np.zeros((3, 48, 48), np.uint8)
LABELS = np.zeros(3, np.int8)
TRAINING = np.array(["Training"] * 3)

CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a pixel too few": (table(GOOD, f"3,{PIXELS[2:]},Training\n"), "data row 2 (line 3): it has 2303 pixels"),
    "a pixel too many": (table(GOOD, f"3,{PIXELS} 7,Training\n"), "data row 2 (line 3): it has 2305 pixels"),
    "no pixels": (table("3,,Training\n"), "data row 1 (line 2): it has 0 pixels"),
    "256": (table(GOOD, GOOD, f"3,256 {PIXELS[2:]},Training\n"), "data row 3 (line 4): pixel 1 is '256'"),
    "negative": (table(f"3,{PIXELS[:-1]}-1,Training\n"), "pixel 2304 is '-1'"),
    "not a number": (table(f"3,7 x {PIXELS[4:]},Training\n"), "pixel 2 is 'x'"),
    "a fraction": (table(f"3,7 7.5 {PIXELS[4:]},Training\n"), "pixel 2 is '7.5'"),
    "label 7": (table(GOOD, f"7,{PIXELS},Training\n"), "data row 2 (line 3): '7' is none of the seven emotions"),
    "label of another set": (table(f"contempt,{PIXELS},Training\n"), "'contempt' is none of the seven emotions"),
    "no label in Training": (table(f",{PIXELS},Training\n"), "a Training row has no label"),
    "unknown usage": (table(f"3,{PIXELS},Practice\n"), "data row 1 (line 2): 'Practice' is no split"),
    "half a row": (table(GOOD, GOOD[:3000]), "data row 2 (line 3): it has 2 fields, the header 3"),
    "half a row of icml": (
        table(f"3,Training,{PIXELS}\n", f"3,Training,{PIXELS[:999]}", header="emotion, Usage, pixels\n"),
        "data row 2 (line 3): it has 500 pixels",
    ),
    "a row with a field too many": (table(f"3,{PIXELS},Training,1\n"), "it has 4 fields, the header 3"),
    "a binary row": (table(GOOD, "\0\1\2\3\n"), "data row 2 (line 3)"),
    "an open quote": (table(f'3,"{PIXELS},Training\n'), "data row 1 (line 2)"),
    "a header alone": (table(), "it holds no rows"),
    "no header": (table(GOOD, header=""), "the header has no column pixels"),
    "no column emotion": (table(f"{PIXELS},Training\n", header="pixels,Usage\n"), "the header has no column emotion"),
    "an empty file": (raw("bad.csv", b""), "the file is empty"),
    "an image": (raw("bad.jpg", image_bytes("JPEG")), "this is not a data set"),
    "a text": (raw("bad.txt", b"Dear diary,\nnothing today.\n"), "this is not a data set"),
    "random bytes": (raw("bad.bin", bytes(range(256)) * 9), "this is not a data set"),
    "an empty folder": (empty_folder, "the folder holds no data set"),
    "a missing path": (lambda folder: folder / "gone.csv", "there is no such file or folder"),
    "half an image": (in_folder("train/angry/x.png", image_bytes()[:200]), "x.png: it is not a readable image"),
    "half a JPEG": (in_folder("train/sad/x.jpg", image_bytes("JPEG")[:500]), "x.jpg: it is not a readable image"),
    "an empty image": (in_folder("train/sad/x.png", b""), "x.png: the file is empty"),
    "a text among images": (in_folder("train/sad/x.txt", b"hello"), "x.txt: it is not a readable image"),
    "an unknown emotion": (in_folder("train/contempt/x.png", image_bytes()), "x.png: 'contempt' is none of"),
    "an unknown split": (in_folder("practice/sad/x.png", image_bytes()), "x.png: 'practice' is no split"),
    "an image in no folder": (in_folder("x.png", image_bytes()), "x.png: the image is in no folder"),
    "half an archive": (lambda folder: archive(folder, 0.5), "the archive is damaged"),
    "an archive of nothing": (lambda folder: archive(folder, 1, "other.txt"), "the archive holds neither"),
    "no archive": (raw("fer2013.tar.gz", b"hello"), "the archive is damaged"),
    "gzip without tar": (raw("bad.tar.gz", gzip.compress(b"hello" * 500)), "the archive is damaged"),
    "half a parquet": (lambda folder: parquet(folder, 0.5), "the parquet file is damaged"),
    "a parquet of zeros": (flipped_parquet, "the parquet file is damaged"),
    "a parquet with a flipped name": (parquet_with_a_flipped_name, "the parquet file is damaged"),
    "other columns": (lambda folder: parquet(folder, face=[b"1"], mood=[3]), "it has face, mood"),
    "a parquet label 9": (lambda folder: parquet(folder, image=[image_bytes()], label=[9]), "data row 1: '9' is none"),
    "a parquet without bytes": (lambda folder: parquet(folder, image=[b""], label=[0]), "row 1: the file is empty"),
    "an npz of other arrays": (lambda folder: npz(folder, x=ZEROS), "the archive lacks an array"),
    "an npz of another shape": (
        lambda folder: npz(folder, images=ZEROS[:, :40], emotion=LABELS, usage=TRAINING),
        "the array images must be (3, 48, 48)",
    ),
    "an npz of objects": (
        lambda folder: npz(folder, images=np.array([{}] * 3), emotion=LABELS, usage=TRAINING),
        "the npz file is damaged",
    ),
    "an npz out of range": (
        lambda folder: npz(folder, images=ZEROS + np.int64(300), emotion=LABELS, usage=TRAINING),
        "values outside 0 to 255",
    ),
    "a zip": (raw("bad.zip", b"PK\x03\x04" + bytes(40)), "the npz file is damaged"),
}


@pytest.mark.parametrize(("write", "fault"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_clear_line(
    tmp_path: Path, mien: Callable[..., Ran], write: Callable[[Path], Path], fault: str
) -> None:
    path = write(tmp_path)
    ran = mien("data", "info", path)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith(f"error: {path}")
    assert fault in ran.err


def test_where_all_rows_are_bad_skipping_is_an_error_too(tmp_path: Path, mien: Callable[..., Ran]) -> None:
    path = table(f"7,{PIXELS},Training\n", "3,1 2,Training\n")(tmp_path)
    ran = mien("data", "info", path, "--skip-bad")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {path}: all of its 2 rows are bad, the first: bad.csv: data row 1 (line 2)")


def test_no_training_rows_are_no_fault_of_the_data(tmp_path: Path, mien: Callable[..., Ran]) -> None:
    assert mien("data", "info", table(f"3,{PIXELS},PublicTest\n")(tmp_path)).code == 0


def test_bracketed_names_are_printed_as_they_are(tmp_path: Path, mien: Callable[..., Ran]) -> None:
    """Rich takes [bold] for markup by default."""
    path = table(name="faces [bold] (1).csv")(tmp_path)
    assert str(path) in mien("data", "info", path).err
