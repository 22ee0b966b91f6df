"""``mien data ...`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Ran
from mien.data import Faces, load_faces
from mien.data.writers import convert_faces


@pytest.fixture
def table(tmp_path: Path, some_faces: Faces) -> Path:
    return convert_faces(some_faces, tmp_path / "x.csv", "csv")


def test_info_shows_splits_and_labels(mien: Callable[..., Ran], table: Path) -> None:
    ran = mien("data", "info", table)
    assert ran.code == 0
    for part in ("x.csv: 42 faces", "Training", "PrivateTest", "Surprise", "also in Training", "48x48", "fingerprint"):
        assert part in ran.out
    assert ran.err == ""


def test_info_json_is_one_document(mien: Callable[..., Ran], table: Path, some_faces: Faces) -> None:
    figures = json.loads(mien("data", "info", table, "--json").out)
    assert figures["fingerprint"] == some_faces.fingerprint
    assert figures["splits"] == {"Training": 14, "PublicTest": 14, "PrivateTest": 14}
    assert figures["labels"]["PublicTest"]["Neutral"] == 2
    assert figures["leaked"] == {"PublicTest": 0, "PrivateTest": 0}
    assert figures["images"]["mean"] == pytest.approx(some_faces.images.mean(), abs=1e-3)


def test_info_counts_leaks_and_constant_images(mien: Callable[..., Ran], tmp_path: Path, some_faces: Faces) -> None:
    faces = some_faces.take(np.arange(42))
    faces.images[20] = faces.images[3]
    faces.images[30] = 5
    figures = json.loads(mien("data", "info", convert_faces(faces, tmp_path / "y.csv", "csv"), "--json").out)
    assert figures["leaked"] == {"PublicTest": 1, "PrivateTest": 0}
    assert figures["images"]["constant"] == 1


def test_info_lists_what_it_left_out(mien: Callable[..., Ran], table: Path) -> None:
    table.write_text(table.read_text() + "9,Training,1\n")
    ran = mien("data", "info", table, "--json", "--skip-bad")
    figures = json.loads(ran.out)
    assert figures["rows"] == 42
    assert len(figures["skipped"]) == 1
    assert "left out 1 bad rows" in ran.err
    assert figures["skipped"][0] in ran.err


def test_the_environment_names_the_data(mien: Callable[..., Ran], table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(table))
    assert mien("data", "info").code == 0
    out = table.with_name("out.parquet")
    assert mien("data", "convert", out, "--to", "parquet").code == 0
    assert load_faces(out).fingerprint == load_faces(table).fingerprint


@pytest.mark.parametrize("layout", ["csv", "old-csv", "folder", "parquet"])
def test_convert_writes_what_info_reads(mien: Callable[..., Ran], table: Path, layout: str) -> None:
    out = table.with_name("out")
    ran = mien("data", "convert", table, out, "--to", layout)
    assert ran.code == 0
    assert ran.out == f"wrote 42 faces to {out}\n"
    assert load_faces(out).fingerprint == load_faces(table).fingerprint


def test_examples_are_exported(mien: Callable[..., Ran], table: Path) -> None:
    ran = mien("data", "examples", table, table.parent, "--export", 3)
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 7
    assert (table.parent / "examples_48_48_3" / "Angry_48_48_3.png").is_file()
    assert mien("data", "examples", table, table.parent, "--export", 2).code == 2


def test_too_many_paths_are_refused(mien: Callable[..., Ran], table: Path) -> None:
    ran = mien("data", "convert", table, table, table, "--to", "csv")
    assert ran.code == 2
    assert ran.err.startswith("error: at most DATA and OUT are expected")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['mien', 'data', '--help']\n"
        "import mien.cli\n"
        "try:\n    mien.cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'cv2', 'torch', 'pyarrow', 'matplotlib', 'kagglehub'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_base_install_reads_tables_and_asks_for_the_extra_for_parquet(table: Path, tmp_path: Path) -> None:
    """Without pyarrow, matplotlib and kagglehub: tables are read, and parquet says what to install."""
    parquet = convert_faces(load_faces(table), tmp_path / "x.parquet", "parquet")
    script = (
        "import sys\n"
        "for name in ('pyarrow', 'matplotlib', 'kagglehub', 'torch'): sys.modules[name] = None\n"
        "from mien.data import load_faces\n"
        "from mien.errors import MissingExtraError\n"
        f"assert len(load_faces({str(table)!r}, cache=False)) == 42\n"
        "try:\n"
        f"    load_faces({str(parquet)!r}, cache=False)\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'mien[train]'" in ran.stdout
