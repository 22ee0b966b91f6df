"""The tool that stores a calibration in a bundle's file."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mien.emotions import Output
from mien.models.bundle import Answer, Calibration, read_bundle, save_bundle
from support.bundles import small_bundle
from tools.answer import store


def test_only_the_metadata_change(tmp_path: Path) -> None:
    path = tmp_path / "x.mien"
    before = save_bundle(small_bundle(), path)
    members = {info.filename: zipfile.ZipFile(path).read(info) for info in zipfile.ZipFile(path).infolist()}
    shares = {Output.FER2013: tuple([1 / 7] * 7)}
    calibration = Calibration(temperature=0.7, answer=Answer(weight=0.3, temperature=0.5), shares=shares)
    store(path, calibration.model_dump(mode="json"), {"on": ["PublicTest"]})
    found = read_bundle(path)
    assert found.card.calibration == calibration
    assert found.card.provenance == before.card.provenance | {"calibration": {"on": ["PublicTest"]}}
    after = {info.filename: zipfile.ZipFile(path).read(info) for info in zipfile.ZipFile(path).infolist()}
    assert [name for name in members if members[name] != after[name]] == ["model.yaml"]
    assert list(members) == list(after)
    assert save_bundle(found, tmp_path / "y.mien").sha256 == found.sha256
