"""No command replaces what it reads: not by its own name, not through a link, not under another name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import Ran, write_recipe
from mien.data import Faces
from mien.models.load import find_bundle

REASONS = ("it would replace the input", "goes into a file that ends in .onnx", "would lie inside the input")
WAYS = ("itself", "symbolic link", "hard link")
COMMANDS = {
    "predict --csv": ("image.png", "predict {input} --csv {out}"),
    "predict --parquet": ("image.png", "predict {input} --parquet {out}"),
    "predict --csv, model": ("model.mien", "predict image.png --model {input} --csv {out}"),
    "video --csv": ("clip.avi", "video {input} --csv {out}"),
    "video --annotate": ("clip.avi", "video {input} --annotate {out}"),
    "video --plot": ("clip.avi", "video {input} --plot {out}"),
    "data convert": ("faces.csv", "data convert {input} {out} --to csv"),
    "data convert, shards": ("faces.csv", "data convert {input} {out} --to shards"),
    "data split": ("faces.csv", "data split {input} {out} --reassign"),
    "data check --clean": ("faces.csv", "data check {input} --clean {out} --drop duplicates"),
    "data crop": ("image.png", "data crop . {out}"),
    "data ferplus --out": ("faces.csv", "data ferplus {input} --out {out}"),
    "data ferplus --targets": ("faces.csv", "data ferplus {input} --targets {out}"),
    "data examples": ("faces.csv", "data examples {input} {out}"),
    "evaluate --out": ("faces.csv", "evaluate tiny --data {input} --out {out}"),
    "report, data": ("faces.csv", "report tiny --out {out} --data {input}"),
    "report, model": ("model.mien", "report {input} --out {out} --data faces.csv"),
    "show": ("faces.csv", "show tiny {out} --index 0 --data {input}"),
    "export": ("model.mien", "export {input} {out} --to onnx"),
    "card": ("model.mien", "card {input} --out {out}"),
    "summary --plot": ("recipe.yaml", "summary {input} --plot {out}"),
    "score": ("faces.parquet", "score {input} {out}"),
    "train, data": ("faces.csv", "train cnn-plain --data {input} --out {out}"),
    "sweep, data": ("faces.csv", "sweep cnn-plain --space space.yaml --data {input} --out {out}"),
    "demo, data": ("faces.csv", "demo --data {input} --out {out}"),
}


@pytest.fixture
def inputs(tmp_path: Path, drawn_csv: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds an input of each kind."""
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(tmp_path / "image.png")
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(3):
        video.write(np.zeros((64, 64, 3), np.uint8))
    video.release()
    shutil.copy(drawn_csv, tmp_path / "faces.csv")
    shutil.copy(find_bundle("tiny"), tmp_path / "model.mien")
    (tmp_path / "faces.parquet").write_bytes(b"PAR1")
    (tmp_path / "space.yaml").write_text("phases.0.optimizer.lr: {kind: uniform, low: 0.001, high: 0.01}\n")
    write_recipe(tmp_path / "recipe.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same_file(way: str, path: Path) -> Path:
    """Another name of a file."""
    if way == "itself":
        return path
    other = path.with_name(f"other{path.suffix}")
    other.symlink_to(path) if way == "symbolic link" else os.link(path, other)
    return other


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_an_input_is_refused(command: str, way: str, inputs: Path, mien: Callable[..., Ran]) -> None:
    name, line = COMMANDS[command]
    before = {path.name: path.read_bytes() for path in inputs.iterdir()}
    out = same_file(way, inputs / name)
    ran = mien(*(word.format(input=name, out=out) for word in line.split()))
    assert ran.code == 2, ran
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert any(reason in ran.err for reason in REASONS), ran.err
    after = {path.name: path.read_bytes() for path in inputs.iterdir() if path != out or way == "itself"}
    assert after == before


def test_annotated_copies_do_not_replace_the_images(inputs: Path, mien: Callable[..., Ran]) -> None:
    photos = inputs / "photos"
    photos.mkdir()
    shutil.copy(inputs / "image.png", photos / "a.png")
    before = (photos / "a.png").read_bytes()
    for out in (photos, inputs / "link"):
        if out != photos:
            out.symlink_to(photos)
        ran = mien("predict", photos, "--annotate", out, "--detector", "none")
        assert (ran.code, "replace" in ran.err) == (2, True), ran
    assert (photos / "a.png").read_bytes() == before
    assert [path.name for path in photos.iterdir()] == ["a.png"]
    assert mien("predict", photos, "--annotate", inputs / "copies", "--detector", "none").code == 0
    assert (inputs / "copies" / "a.png").is_file()


def test_two_outputs_in_one_file_are_refused(inputs: Path, mien: Callable[..., Ran]) -> None:
    ran = mien("predict", "image.png", "--csv", "out.x", "--parquet", inputs / "out.x")
    assert (ran.code, "two outputs" in ran.err) == (2, True), ran
    assert not (inputs / "out.x").exists()


def test_a_file_that_is_no_input_is_replaced(inputs: Path, drawn: Faces, mien: Callable[..., Ran]) -> None:
    (inputs / "old.csv").write_text("old")
    assert mien("predict", "image.png", "--detector", "none", "--csv", "old.csv").code == 0
    assert (inputs / "old.csv").read_text() != "old"
    assert len(drawn)
