"""``mien predict`` as a user runs it: single files, folders with broken ones among them, tables and pictures."""

from __future__ import annotations

import csv
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from conftest import Ran
from mien.data import Faces
from mien.emotions import LABELS
from mien.inference import Predictor
from mien.inference.inputs import find_images

if TYPE_CHECKING:
    from mien.training import Run

Mien = Callable[..., Ran]
BROKEN = (
    "empty", "text", "cut-png", "cut-jpeg", "cut-webp", "noise", "bomb", "pdf", "half-header", "zeros"
)  # fmt: skip


def is_corrupt(kind: str, folder: Path) -> bytes:
    """A file that is no picture, of one of ten kinds."""
    whole = {}
    for form in ("png", "jpeg", "webp"):
        path = folder / f".whole.{form}"
        Image.effect_noise((24, 24), 60).save(path)
        whole[form] = path.read_bytes()
    bomb = bytearray(whole["png"])
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    return {
        "empty": b"", "text": b"dear diary", "cut-png": whole["png"][:-40], "cut-jpeg": whole["jpeg"][:-60],
        "cut-webp": whole["webp"][:-30], "noise": np.random.default_rng(0).bytes(500), "bomb": bytes(bomb),
        "pdf": b"%PDF-1.4\n%%EOF", "half-header": whole["png"][:20], "zeros": bytes(400),
    }[kind]  # fmt: skip


@pytest.fixture
def thousand(drawn: Faces, tmp_path: Path) -> Path:
    """A folder with two levels, 950 crops and 50 broken files of ten kinds among them."""
    root = tmp_path / "thousand"
    for number in range(950):
        path = root / f"{number % 7}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[number % len(drawn.images)]).save(path, compress_level=1)
    for number in range(50):
        path = root / f"{number % 7}" / f"broken-{number:02}.jpg"
        path.write_bytes(is_corrupt(BROKEN[number % 10], root))
    return root


def test_it_prints_a_row_a_face(mien: Mien, tiny_run: Run, crops: list[Path]) -> None:
    ran = mien("predict", *crops, "--model", tiny_run.out, "--detector", "none")
    assert (ran.code, ran.err) == (0, "")
    for path, one in zip(crops, Predictor(tiny_run.out, detector="none").predict(crops), strict=True):
        row, *_ = [line for line in ran.out.splitlines() if str(path) in line]
        assert one.faces[0].emotion in row
        assert f"{one.faces[0].confidence:.1%}" in row


def test_one_face_has_all_its_percentages(mien: Mien, tiny_run: Run, crops: list[Path]) -> None:
    ran = mien("predict", crops[0], "--model", tiny_run.out, "--detector", "none")
    face = Predictor(tiny_run.out, detector="none").crops(crops)[0].faces[0]
    assert ran.out.splitlines()[0] == f"{crops[0]}: {face.emotion}"
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == list(LABELS)


def test_what_is_out_of_reach_is_noted_once_and_min_face_searches(mien: Mien, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (3000, 200)).save(tmp_path / name)
    ran = mien("predict", tmp_path, "--model", "tiny", "--detector", "fast", "--json")
    assert ran.code == 0
    assert ran.err.count("note: ") == 1
    assert "faces smaller than 112 pixels are out of reach" in ran.err
    assert "(the same in 1 more)" in ran.err
    assert all("out of reach" in json.loads(line)["note"] for line in ran.out.splitlines())
    ran = mien("predict", tmp_path, "--model", "tiny", "--detector", "fast", "--min-face", 90, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(line)["note"] for line in ran.out.splitlines()] == [None, None]
    ran = mien("predict", tmp_path, "--model", "tiny", "--detector", "none", "--min-face", 90)
    assert ran.code == 2
    assert "has no smallest face" in ran.err


def test_json_is_a_document_a_line(mien: Mien, tiny_run: Run, crops: list[Path]) -> None:
    ran = mien("predict", *crops, "--model", tiny_run.out / "best.mien", "--detector", "none", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert found == [one.to_dict() for one in Predictor(tiny_run.out).crops(crops)]
    for one in found:
        assert list(one) == ["path", "width", "height", "faces", "error", "note"]
        assert list(one["faces"][0]) == ["box", "detection", "emotion", "confidence", "probabilities"]
        assert sum(one["faces"][0]["probabilities"].values()) == pytest.approx(1)


def test_a_folder_of_a_thousand_with_fifty_broken(mien: Mien, tiny_run: Run, thousand: Path, tmp_path: Path) -> None:
    table, parquet = tmp_path / "out.csv", tmp_path / "out.parquet"
    options = ("--model", tiny_run.out, "--detector", "none", "--json", "--csv", table, "--parquet", parquet)
    ran = mien("predict", thousand, *options)
    assert ran.code == 1
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["path"] for one in found] == sorted(str(p) for p in thousand.rglob("*.*") if p.name[0] != ".")
    bad = [one for one in found if one["error"] is not None]
    assert (len(found), len(bad), sum(len(one["faces"]) for one in found)) == (1000, 50, 950)
    assert all("broken" in one["path"] and not one["faces"] for one in bad)
    *lines, last = ran.err.splitlines()
    assert lines == [f"error: {one['path']}: {one['error']}" for one in bad]
    assert last == "error: 50 of 1,000 images could not be read"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [one["path"] for one in found]
    assert [bool(row["error"]) for row in rows] == [one["error"] is not None for one in found]
    one = next(place for place, row in enumerate(rows) if not row["error"])
    assert float(rows[one]["Happy"]) == found[one]["faces"][0]["probabilities"]["Happy"]
    assert _parquet(parquet)["emotion"] == [(one["faces"] or [{"emotion": None}])[0]["emotion"] for one in found]


def _parquet(path: Path) -> dict[str, list[Any]]:
    reader = pytest.importorskip("pyarrow.parquet")
    found: dict[str, list[Any]] = reader.read_table(path).to_pydict()
    return found


def test_ctrl_c_keeps_what_is_done(
    mien: Mien, tiny_run: Run, crops: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mien.inference import predictor

    calls: list[object] = []
    read = predictor.read_image

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(predictor, "read_image", interrupted)
    table = tmp_path / "out.csv"
    ran = mien("predict", *crops, "--model", tiny_run.out, "--detector", "none", "--batch-size", 1, "--csv", table)
    assert ran.code == 130
    assert ran.err == "error: interrupted after 2 of 3 images; these are saved\n"
    with table.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(path) for path in crops[:2]]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_table_that_cannot_be_finished_leaves_the_old_one(
    mien: Mien, tiny_run: Run, crops: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "out.csv"
    table.write_text("old")
    ran = mien("predict", tmp_path / "none*.png", "--model", tiny_run.out, "--csv", table)
    assert (ran.code, table.read_text()) == (2, "old")
    assert "no file fits this pattern" in ran.err


@pytest.mark.parametrize("option", ["--csv", "--parquet", "--annotate"])
def test_where_nothing_can_be_written_is_one_line(
    mien: Mien, tiny_run: Run, crops: list[Path], tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "file" / "out.csv"
    ran = mien("predict", crops[0], "--model", tiny_run.out, "--detector", "none", option, out)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "it cannot be written" in ran.err
    assert str(tmp_path / "file") in ran.err


def test_uncertain_faces_are_said_to_be(mien: Mien, tiny_run: Run, crops: list[Path]) -> None:
    ran = mien("predict", *crops, "--model", tiny_run.out, "--detector", "none", "--json", "--min-confidence", 1)
    assert {json.loads(line)["faces"][0]["emotion"] for line in ran.out.splitlines()} == {"uncertain"}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["https://x.invalid/a.png"], "URLs are not fetched unless allowed. Add --allow-urls"),
        (["file:///etc/passwd", "--allow-urls"], "only http and https addresses are fetched"),
        (["a.png", "--detector", "haar"], "no detector 'haar'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(mien: Mien, tiny_run: Run, arguments: list[str], what: str) -> None:
    ran = mien("predict", *arguments, "--model", tiny_run.out)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert what in ran.err


def test_an_empty_folder_is_an_error(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    ran = mien("predict", tmp_path, "--model", tiny_run.out)
    assert ran.code == 2
    assert "no image in this folder" in ran.err


def test_folders_patterns_and_names_are_found_once_and_in_order(crops: list[Path], tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "Z.JPEG").write_bytes(b"")
    (tmp_path / "deep" / ".hidden.png").write_bytes(b"")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path / "deep")
    names = [str(path) for path in crops]
    assert find_images([str(tmp_path / "*.png"), names[1]]) == [names[0], names[2], names[1]]
    assert find_images([names[2]]) == [names[2]]  # a file whose name looks like a pattern
    assert find_images([str(tmp_path / "gone.png")]) == [str(tmp_path / "gone.png")]
    below = find_images([str(tmp_path), names[0]])
    assert below[:3] == sorted(names)
    assert below[3] == str(tmp_path / "deep" / "er" / "Z.JPEG")


@pytest.fixture
def server(crops: list[Path]) -> Iterator[str]:
    """A web server with one picture."""
    data = crops[0].read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/face.png?size=1" else 404)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Keep stderr to the command."""

    web = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()


def test_urls_are_fetched_where_they_are_asked_for(
    mien: Mien, tiny_run: Run, crops: list[Path], server: str, tmp_path: Path
) -> None:
    urls = [f"{server}/face.png?size=1", f"{server}/none.png"]
    options = ("--model", tiny_run.out, "--detector", "none", "--json", "--annotate", tmp_path / "out")
    ran = mien("predict", *urls, *options, "--allow-urls")
    first, second = map(json.loads, ran.out.splitlines())
    assert ran.code == 1
    assert [first["path"], second["path"]] == urls
    expected = Predictor(tiny_run.out).crops(crops[:1])[0].to_dict()
    assert first["faces"] == expected["faces"]
    assert "could not be fetched (HTTP Error 404" in second["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["face.png"]


def test_annotated_copies_have_frames_and_labels(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (320, 200), "white").save(tmp_path / folder / "same.png")
    Image.new("RGB", (320, 200), "white").save(tmp_path / "two" / "same-2.png")
    out = tmp_path / "out"
    options = ("--model", tiny_run.out, "--detector", "none", "--annotate", out)
    assert mien("predict", tmp_path / "one", tmp_path / "two", *options).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["same-2.png", "same-3.png", "same.png"]
    with Image.open(out / "same.png") as image:
        assert image.size == (320, 200)
        colours = {colour for _, colour in image.convert("RGB").getcolors(100_000) or []}
    assert len(colours) > 2
    with Image.open(tmp_path / "one" / "same.png") as original:
        assert original.getcolors() == [(320 * 200, (255, 255, 255))]


def test_another_output_and_prior_are_predicted(mien: Mien, crops: list[Path], tmp_path: Path) -> None:
    """Each as the predictor of Python has it; what the model has not is refused in one line."""
    (tmp_path / "shares.yaml").write_text(str(dict.fromkeys(LABELS, 1.0) | {"Happy": 0.0}))
    found = {}
    for output, prior in (
        ("default", None),
        ("fer2013", None),
        ("ferplus", None),
        ("default", tmp_path / "shares.yaml"),
    ):
        words = ["--output", output, *(["--prior", prior] if prior else [])]
        ran = mien("predict", crops[0], "--model", "tiny", "--detector", "none", "--json", *words)
        shares = json.loads(ran.out)["faces"][0]["probabilities"]
        predictor = Predictor("tiny", detector="none", output=output, prior=prior)
        assert shares == pytest.approx(predictor.predict(crops[0]).faces[0].probabilities, abs=1e-6)
        found[output, prior is None] = shares
    assert len({tuple(shares.values()) for shares in found.values()}) == 4
    assert found["default", False]["Happy"] == 0
    ran = mien("predict", crops[0], "--model", "tiny", "--prior", "most-are-happy")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "Name balanced, fer2013, or a YAML or JSON file" in ran.err
