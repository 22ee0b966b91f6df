"""Flipped bits and cut files: each is found and said, or (in the cache) rebuilt without a word."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import Ran, tiny_recipe
from mien.data import Faces, load_faces
from mien.data.cache import cache_folder
from mien.data.writers import convert_faces
from mien.errors import MienError, ModelError, RecipeError
from mien.export.onnx_file import save_onnx
from mien.models.load import load_bundle
from mien.models.onnx.session import Session
from mien.training import Run, train
from mien.training.checkpoints import Checkpoints, read_phase

Mien = Callable[..., Ran]
PLACES = st.floats(0, 1, exclude_max=True)
BITS = st.integers(0, 7)
MANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def flipped(data: bytes, where: float, bit: int) -> bytes:
    spoilt = bytearray(data)
    spoilt[int(where * len(data))] ^= 1 << bit
    return bytes(spoilt)


def refused(call: Callable[[Path], object], path: Path, error: type[MienError]) -> None:
    with pytest.raises(error) as caught:
        call(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


READERS: dict[str, Callable[[Path], object]] = {
    "2-all.ckpt": Checkpoints().load_checkpoint,
    "1-head.safetensors": read_phase,
}


@pytest.mark.parametrize("name", READERS)
@MANY
@given(where=PLACES, bit=BITS)
@example(where=0.0, bit=0)
@example(where=0.9999999, bit=7)
def test_every_flipped_bit_of_a_checkpoint_is_found(
    tiny_run: Run, tmp_path: Path, name: str, where: float, bit: int
) -> None:
    path = tmp_path / name
    path.write_bytes(flipped((tiny_run.checkpoints / name).read_bytes(), where, bit))
    refused(READERS[name], path, RecipeError)


@pytest.mark.parametrize("name", READERS)
@MANY
@given(part=PLACES)
@example(part=0.0)
@example(part=0.9999999)
def test_every_cut_checkpoint_is_found(tiny_run: Run, tmp_path: Path, name: str, part: float) -> None:
    data, path = (tiny_run.checkpoints / name).read_bytes(), tmp_path / name
    path.write_bytes(data[: int(part * len(data))])
    refused(READERS[name], path, RecipeError)


def test_a_sound_checkpoint_is_read(tiny_run: Run) -> None:
    weights, rows = read_phase(tiny_run.checkpoints / "2-all.safetensors")
    assert rows == tiny_run.rows
    assert tiny_run.bundle is not None
    assert all(np.array_equal(array, weights[name].numpy()) for name, array in tiny_run.bundle.weights.items())
    assert Checkpoints().load_checkpoint(tiny_run.checkpoints / "2-all.ckpt")["epoch"] == 2 - 1


def test_a_flipped_bit_in_the_weights_of_a_phase_stops_the_resumption(
    tiny_run: Run, drawn: Faces, tmp_path: Path
) -> None:
    """Before the sum was kept, the second phase started from other weights, without a word."""
    out = Path(shutil.copytree(tiny_run.out, tmp_path / "run"))
    for name in ("best.mien", "checkpoints/2-all.ckpt", "checkpoints/2-all.safetensors"):
        (out / name).unlink()
    done = out / "checkpoints" / "1-head.safetensors"
    done.write_bytes(flipped(done.read_bytes(), 0.9, 6))
    with pytest.raises(RecipeError, match=r"1-head.safetensors: a damaged checkpoint. Delete it and resume once more"):
        train(tiny_recipe(), drawn, out, seed=1, device="cpu", resume=True)
    assert not (out / "best.mien").exists()


def test_every_flipped_bit_of_a_runs_identity_stops_the_resumption(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    out = Path(shutil.copytree(tiny_run.out, tmp_path / "run"))
    note = out / "checkpoints" / "run.json"
    data, draw = note.read_bytes(), random.Random(0)
    for _ in range(40):
        note.write_bytes(flipped(data, draw.random(), draw.randrange(8)))
        with pytest.raises(RecipeError, match=r"damaged note|differ from the run there"):
            train(tiny_recipe(), drawn, out, seed=1, device="cpu", resume=True)


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_onnx(load_bundle(tiny_run.out), tmp_path_factory.mktemp("exported") / "x.onnx")


@MANY
@given(where=PLACES, bit=BITS)
@example(where=0.3, bit=6)
def test_a_flipped_bit_of_an_exported_model_is_found_or_harmless(
    exported: Path, drawn: Faces, tmp_path: Path, where: float, bit: int
) -> None:
    """Harmless: one in the name of the checksum itself, which is then not looked at; the model is the same."""
    path = tmp_path / "x.onnx"
    path.write_bytes(flipped(exported.read_bytes(), where, bit))
    try:
        found = load_bundle(path)
    except ModelError:
        return
    images = drawn.images[:5]
    for one, other in zip(*(Session(m).logits(images).values() for m in (found, load_bundle(exported))), strict=True):
        assert np.array_equal(one, other)
    assert found.card == load_bundle(exported).card


def test_every_flipped_weight_of_an_exported_model_is_found(exported: Path, tmp_path: Path) -> None:
    data, path, draw = exported.read_bytes(), tmp_path / "x.onnx", random.Random(0)
    kernel = load_bundle(exported).graph.index(b"conv_pw_1")
    for _ in range(40):
        path.write_bytes(flipped(data, draw.uniform(kernel / len(data), 0.9), draw.randrange(8)))
        refused(load_bundle, path, ModelError)


@MANY
@given(where=PLACES, bit=BITS, cut=st.booleans())
def test_a_spoilt_cache_entry_is_rebuilt_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, some_faces: Faces, where: float, bit: int, cut: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("spoilt")
        patch.setenv("MIEN_CACHE", str(folder))
        table = convert_faces(some_faces, folder / "x.csv", "csv")
        load_faces(table)
        (entry,) = cache_folder().iterdir()
        sound = entry.read_bytes()
        entry.write_bytes(sound[: int(where * len(sound))] if cut else flipped(sound, where, bit))
        found = load_faces(table)
        assert found.fingerprint == some_faces.fingerprint
        assert np.array_equal(found.row, some_faces.row)
        shutil.rmtree(folder)


def test_a_command_names_the_damaged_model_in_one_line(
    mien: Mien, tiny_run: Run, exported: Path, crops: list[Path], tmp_path: Path
) -> None:
    for source in (tiny_run.out / "best.mien", exported):
        path = tmp_path / source.name
        path.write_bytes(flipped(source.read_bytes(), 0.5, 3))
        ran = mien("predict", crops[0], "--model", path, "--detector", "none")
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert str(path) in ran.err
        assert "damaged" in ran.err
