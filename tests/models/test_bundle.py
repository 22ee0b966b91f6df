"""The bundle: a round trip through one file, and a clear error for every damage."""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mien.errors import MienError, ModelError
from mien.models.bundle import Bundle, Card, save_bundle
from mien.models.load import find_bundle, load_bundle
from mien.models.onnx.session import Session
from mien.models.spec import CnnSpec, Head
from support.bundles import small_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle on disk, which no test changes."""
    return save_bundle(small_bundle(), tmp_path_factory.mktemp("bundle") / "small.mien")


def raw(bundle: Bundle) -> bytes:
    assert bundle.path is not None
    return bundle.path.read_bytes()


def members(bundle: Bundle) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw(bundle))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_what_is_saved_is_loaded(saved: Bundle) -> None:
    original, loaded = small_bundle(), load_bundle(str(saved.path))
    assert loaded.card == original.card
    assert loaded.graph == original.graph
    assert loaded.weights.keys() == original.weights.keys()
    for name, array in original.weights.items():
        assert loaded.weights[name].dtype == np.float32
        assert np.array_equal(loaded.weights[name], array)
    assert loaded.parameters == sum(array.size for array in original.weights.values())
    assert loaded.path == saved.path
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    one, other = (Session(bundle).probabilities(images)[Head.LABELS] for bundle in (loaded, original))
    assert np.array_equal(one, other)


def test_the_digest_is_the_files(saved: Bundle) -> None:
    digest = hashlib.sha256(raw(saved)).hexdigest()
    assert saved.sha256 == digest
    assert load_bundle(saved.path or "").sha256 == digest


def test_equal_bundles_give_equal_bytes_and_others_do_not(saved: Bundle, tmp_path: Path) -> None:
    bundle = small_bundle()
    turned = Bundle(bundle.card, dict(reversed(bundle.weights.items())), bundle.graph)
    assert raw(save_bundle(turned, tmp_path / "a.mien")) == raw(saved)
    assert save_bundle(small_bundle(1), tmp_path / "b.mien").sha256 != saved.sha256


def test_three_readable_members_and_no_pickle(saved: Bundle) -> None:
    parts = members(saved)
    assert list(parts) == ["model.yaml", "weights.safetensors", "model.onnx"]
    assert yaml.safe_load(parts["model.yaml"])["provenance"]["accents"] == "né"
    assert set(safetensors.numpy.load(parts["weights.safetensors"])) == set(small_bundle().weights)
    for data in parts.values():
        with pytest.raises(ValueError):
            list(pickletools.genops(data))


def test_a_failed_save_leaves_the_old_file(saved: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mien"
    old = save_bundle(small_bundle(), path)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_bundle(small_bundle(1), path)
    monkeypatch.undo()
    assert load_bundle(path).sha256 == old.sha256
    assert [found.name for found in tmp_path.iterdir()] == ["m.mien"]


def refused(data: bytes, path: Path) -> str:
    """Load damaged bytes, as a user would up to the first answer, and return the one line that says why not."""
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        Session(load_bundle(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_way_to_cut_it_is_refused(saved: Bundle, tmp_path: Path) -> None:
    data = raw(saved)
    for length in [*range(0, 200, 7), *range(200, len(data), 997), *range(len(data) - 60, len(data))]:
        refused(data[:length], tmp_path / "cut.mien")


def test_flips_in_every_byte_of_the_containers_headers_are_refused_or_harmless(saved: Bundle, tmp_path: Path) -> None:
    """The archive's own bytes: local headers, directory, end. No checksum covers them, so each byte is tried."""
    data = raw(saved)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        starts = [entry.header_offset for entry in archive.infolist()]
        sizes = [30 + len(entry.filename) for entry in archive.infolist()]
        places = [start + byte for start, size in zip(starts, sizes, strict=True) for byte in range(size)]
        places += range(archive.start_dir, len(data))
    assert len(places) > 300
    for place in places:
        for mask in (0x08, 0x81):
            harmless_or_refused(data, place, mask, saved, tmp_path / "flipped.mien")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
@example(where=0.0, mask=1)
@example(where=0.5, mask=255)
def test_any_flipped_byte_is_refused_or_harmless(saved: Bundle, tmp_path: Path, where: float, mask: int) -> None:
    data = raw(saved)
    harmless_or_refused(data, int(where * len(data)), mask, saved, tmp_path / "flipped.mien")


def harmless_or_refused(data: bytes, place: int, mask: int, original: Bundle, path: Path) -> None:
    """Either a ModelError, or (a date, a permission) nothing that the bundle holds has changed."""
    spoilt = bytearray(data)
    spoilt[place] ^= mask
    path.write_bytes(spoilt)
    try:
        loaded = load_bundle(path)
    except ModelError:
        return
    assert loaded.card == original.card
    assert loaded.graph == original.graph
    assert loaded.weights.keys() == original.weights.keys()
    assert all(np.array_equal(loaded.weights[name], array) for name, array in original.weights.items())
    assert loaded.sha256 != original.sha256


def test_a_flipped_byte_inside_a_member_is_always_refused(saved: Bundle, tmp_path: Path) -> None:
    data = bytearray(raw(saved))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        spans = [(e.header_offset + 30 + len(e.filename), e.file_size) for e in archive.infolist()]
    for start, size in spans:
        for place in (start, start + size // 2, start + size - 1):
            spoilt = data.copy()
            spoilt[place] ^= 0x10
            refused(bytes(spoilt), tmp_path / "flipped.mien")


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Change the card."""

    def edit(parts: dict[str, bytes]) -> dict[str, bytes]:
        card = yaml.safe_load(parts["model.yaml"])
        change(card)
        return parts | {"model.yaml": yaml.safe_dump(card).encode()}

    return edit


def lacking(member: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: {name: data for name, data in parts.items() if name != member}


def holding(member: str, data: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: parts | {member: data}


def without_weight(parts: dict[str, bytes]) -> dict[str, bytes]:
    weights = safetensors.numpy.load(parts["weights.safetensors"])
    del weights["head.bias"]
    return parts | {"weights.safetensors": safetensors.numpy.save(weights)}


def with_other_weight(parts: dict[str, bytes]) -> dict[str, bytes]:
    weights = safetensors.numpy.load(parts["weights.safetensors"])
    weights["head.bias"] = np.zeros(6, np.float32)
    return parts | {"weights.safetensors": safetensors.numpy.save(weights)}


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lacking("model.yaml"), "not a mien bundle.*model.yaml"),
        (lacking("weights.safetensors"), "not a mien bundle.*weights.safetensors"),
        (lacking("model.onnx"), "not a mien bundle.*model.onnx"),
        (edited(lambda card: card.update(format=2)), "does not fit this version of mien .format"),
        (edited(lambda card: card.pop("network")), "does not fit this version of mien .network"),
        (edited(lambda card: card.update(network={"name": "vgg"})), "does not fit this version of mien"),
        (edited(lambda card: card.update(labels=["a", "b"])), "7 classes but 2 labels"),
        (edited(lambda card: card.update(calibration={"temperature": 0})), "temperature"),
        (edited(lambda card: card.update(surprise=1)), "surprise"),
        (holding("model.yaml", b"- a list"), "does not fit"),
        (holding("model.yaml", b"a: [1"), "model.yaml is unreadable"),
        (holding("model.yaml", b"\xff\xfe\x00"), "model.yaml is unreadable"),
        (holding("weights.safetensors", b"\x08"), "its weights are unreadable"),
        (holding("weights.safetensors", b""), "its weights are unreadable"),
        (holding("model.onnx", b""), "graph does not run"),
        (holding("model.onnx", b"not a graph"), "graph does not run"),
        (without_weight, "graph does not run"),
        (with_other_weight, "graph does not run"),
    ],
)
def test_parts_that_are_not_a_bundles_are_refused(
    saved: Bundle, tmp_path: Path, spoil: Callable[[dict[str, bytes]], dict[str, bytes]], what: str
) -> None:
    message = refused(packed(spoil(members(saved))), tmp_path / "spoilt.mien")
    assert re.search(what, message), message


def test_files_that_are_no_archives_are_refused(tmp_path: Path) -> None:
    for data in (b"", b"PK", b"\x80\x04K\x01.", b"\x00" * 5000):
        assert "not a mien bundle" in refused(data, tmp_path / "x.mien")


def test_a_run_folder_means_its_best_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        find_bundle(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"holds no best\.mien"):
        find_bundle(tmp_path)
    best = save_bundle(small_bundle(), tmp_path / "best.mien")
    assert find_bundle(tmp_path) == find_bundle(str(best.path)) == best.path
    assert load_bundle(tmp_path).sha256 == best.sha256


def test_errors_of_models_are_errors_of_mien() -> None:
    assert issubclass(ModelError, MienError)
    assert Card(name="c", network=CnnSpec()).labels[3] == "Happy"
