"""The notebook is that of its source, was run, is small, and runs from top to bottom on drawn faces."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from conftest import ROOT
from mien.data.synthetic import draw_faces
from mien.data.writers import convert_faces
from support.documents import votes_of

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")
FOLDER = ROOT / "notebooks"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """notebooks/make.py."""
    spec = importlib.util.spec_from_file_location("notebook_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_notebook_is_its_sources_and_was_run(make: ModuleType) -> None:
    notebook = nbformat.read(make.NOTEBOOK, 4)
    nbformat.validate(notebook)
    found = [(cell.cell_type, cell.source) for cell in notebook.cells]
    source = make.cells(make.SOURCE.read_text(encoding="utf-8"))
    assert found == [("markdown" if kind == "markdown" else "code", text) for kind, text in source]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    assert sum("image/png" in out.get("data", {}) for cell in code for out in cell.outputs) >= 6
    shows_faces = [cell for cell in code if "faces" in cell.metadata.get("tags", [])]
    assert len(shows_faces) == 3
    assert [out.get("text") for cell in shows_faces for out in cell.outputs] == [make.LEFT_OUT + "\n"] * 3
    assert make.NOTEBOOK.stat().st_size < 1_500_000


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A data set of 200 drawn faces, with votes."""
    return convert_faces(votes_of(draw_faces(200, seed=9)), tmp_path / "some.parquet", "parquet")


def test_it_runs_from_top_to_bottom(make: ModuleType, some: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(some))
    monkeypatch.setenv("MIEN_NOTEBOOK_EPOCHS", "1,1")
    monkeypatch.setenv("MIEN_NOTEBOOK_SET", "imagenet=false network.cut=3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = make.execute(make.build(make.SOURCE.read_text(encoding="utf-8")))
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("all   epoch 2" in out.get("text", "") for out in outputs)
    assert any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in outputs)
