"""Scoring on this machine: the predictor's rows, each once, whatever is killed, damaged or changed in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow.parquet as pq
import pytest

from mien.batch.chunks import Chunk
from mien.batch.engines import score_locally
from mien.batch.inputs import open_collection
from mien.batch.job import Options, Summary, make_job, score
from mien.batch.output import JOB, MANIFEST, check_settings, open_output
from mien.batch.scorer import Job, Scorer
from mien.batch.table import read_metadata
from mien.errors import DataError, ModelError, ParallelError
from mien.models.load import find_bundle, load_bundle
from support.collections_of_images import BAD, BATCH, CHUNK, bytes_of, expected, images, rows_of, write_images

ROWS = 480
LOCAL = Options("tiny", batch=BATCH, chunk_size=CHUNK, workers=1, engine="local")


@pytest.fixture(scope="module")
def blobs() -> list[bytes]:
    return images(ROWS)


@pytest.fixture(scope="module")
def table(blobs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as a folder of two shards."""
    folder = tmp_path_factory.mktemp("input") / "shards"
    write_images(folder / "a.parquet", blobs[:300])
    write_images(folder / "b.parquet", blobs[300:], group=1000)
    return folder


@pytest.fixture(scope="module")
def scored(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its scores, by two workers in one go; tests only copy the folder."""
    out = tmp_path_factory.mktemp("scored") / "out"
    summary = score(str(table), out, replace(LOCAL, workers=2))
    assert (summary.rows, summary.errors, summary.existing, summary.engine) == (ROWS, len(BAD), 0, "local")
    return out


@pytest.fixture
def copied(scored: Path, tmp_path: Path) -> Path:
    """A copy of the scores."""
    return Path(shutil.copytree(scored, tmp_path / "out"))


def job_for(source: Path, options: Options = LOCAL) -> Job:
    return make_job(options, open_collection(str(source)))


def test_rows_are_the_predictors(table: Path, scored: Path, blobs: list[bytes]) -> None:
    names = [f"{table}/a.parquet#{row}" for row in range(300)] + [f"{table}/b.parquet#{row}" for row in range(180)]
    rows = rows_of(scored)
    assert rows == expected("tiny", names, blobs)
    assert [row["row"] for row in rows if row["error"]] == list(BAD)
    assert not [path for path in scored.iterdir() if path.name.startswith(".")]


def test_the_manifest_says_that_all_is_there(scored: Path) -> None:
    manifest = json.loads((scored / MANIFEST).read_text())
    assert (manifest["rows"], manifest["errors"], manifest["chunks"]) == (ROWS, len(BAD), 15)
    assert pq.read_table(scored).num_rows == ROWS  # what is no chunk is passed over by readers of folders


def test_names_and_batches_do_not_depend_on_workers_or_engine(table: Path, scored: Path) -> None:
    """The scorer alone gives the bytes that two processes gave."""
    job = job_for(table)
    one = Scorer(job)
    for chunk in list(open_collection(str(table)).chunks(CHUNK))[9:12]:
        assert one.score(chunk).data == (scored / f"part-{chunk.number:08}.parquet").read_bytes()


def test_a_folder_of_images_into_one_file(blobs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"faces/{row % 3}/{row:03}.png" for row in range(120)]
    for name, blob in zip(names, blobs, strict=False):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    names.append("faces/9.png")
    (tmp_path / names[-1]).symlink_to(tmp_path / "gone.png")
    summary = score("faces", "out.parquet", LOCAL)
    assert (summary.rows, summary.errors) == (121, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "out.parquet"]
    rows = rows_of(tmp_path / "out.parquet")
    order = sorted(range(121), key=names.__getitem__)
    assert rows[:-1] == expected("tiny", [names[row] for row in order[:-1]], [blobs[row] for row in order[:-1]])
    assert (rows[-1]["uri"], rows[-1]["error"]) == (names[-1], "No such file or directory")
    finished = score("faces", "out.parquet", LOCAL)
    assert (finished.rows, finished.existing, finished.engine) == (121, 121, "none")
    (tmp_path / "faces" / "0.png").write_bytes(b"")
    for options, what in (
        (LOCAL, "the input is not what it was"),
        (replace(LOCAL, batch=8), "begun with --batch-size 16"),
    ):
        with pytest.raises(DataError, match=what):
            score("faces", "out.parquet", options)


def test_a_list_of_paths_and_addresses(blobs: list[bytes], tmp_path: Path) -> None:
    for row in (0, 1):
        (tmp_path / f"{row}.png").write_bytes(blobs[row])
    names = ["0.png", f"file://{tmp_path}/1.png", "0.png", str(tmp_path / "1.png"), "nosuch://x", "gone.png"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    summary = score(str(tmp_path / "list.txt"), tmp_path / "out", LOCAL)
    rows = rows_of(tmp_path / "out")
    assert [row["uri"] for row in rows] == names
    assert rows[:4] == expected("tiny", names[:4], [blobs[row] for row in (0, 1, 0, 1)])
    assert ["fetched" in rows[4]["error"], rows[5]["error"]] == [True, "No such file or directory"]
    assert summary.errors == 2


def test_with_a_detector_the_most_certain_face_is_scored(tmp_path: Path) -> None:
    sample = pytest.importorskip("matplotlib.cbook").get_sample_data
    with sample("grace_hopper.jpg") as file:
        photo = file.read()
    path = write_images(tmp_path / "a.parquet", [photo, images(1)[0], b""])
    job = job_for(path, Options("tiny", "fast"))
    scored = Scorer(job).score(next(open_collection(str(path)).chunks(job.chunk_size)))
    (tmp_path / "out.parquet").write_bytes(scored.data)
    rows = rows_of(tmp_path / "out.parquet")
    assert [row["faces"] for row in rows] == [1, 0, None]
    assert rows[0]["detection"] > 0.5
    assert rows[0]["box_width"] < 300
    assert [row["emotion"] is None for row in rows] == [False, True, True]
    assert [row["error"] is None for row in rows] == [True, True, False]


COMMAND = [sys.executable, "-m", "mien", "score"]
KILLED = ["--model", "tiny", "--batch-size", str(BATCH), "--chunk-size", str(CHUNK), "--engine", "local"]


def test_a_killed_run_goes_on_to_the_same_bytes(table: Path, scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [*COMMAND, str(table), str(out), *KILLED, "--workers", "2", "--json"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(lambda: len(bytes_of(out)) >= 3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _wait(lambda: not _alive(process.pid))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert 3 <= len(before) < 15
    assert not (out / MANIFEST).exists()
    (out / ".part-left").write_bytes(b"half")  # as a kill in the midst of writing leaves it
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert (summary["rows"], summary["existing"]) == (ROWS, CHUNK * len(before))
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}.items() >= before.items()
    assert bytes_of(out) == bytes_of(scored)
    assert (out / MANIFEST).read_bytes() == (scored / MANIFEST).read_bytes()
    assert not (out / ".part-left").exists()


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_a_worker_that_dies_is_replaced(table: Path, scored: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(rows: int) -> None:
        if not killed and len(bytes_of(tmp_path / "out")) == 4:
            killed.extend(_children())
            os.kill(killed[0], signal.SIGKILL)

    summary = score(str(table), tmp_path / "out", replace(LOCAL, workers=2), kill)
    assert killed
    assert summary.rows == ROWS
    assert bytes_of(tmp_path / "out") == bytes_of(scored)


def _children() -> list[int]:
    """The worker processes of this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            called = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"spawn_main" in called:
            found.append(int(path.parent.name))
    return found


class Deadly(Chunk):
    """A chunk that ends the process that unpacks it."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_chunk_that_kills_every_worker_is_one_error(table: Path) -> None:
    chunk = next(open_collection(str(table)).chunks(CHUNK))
    deadly = Deadly(chunk.number, chunk.first, chunk.rows, chunk.digest, segments=chunk.segments)
    with pytest.raises(ParallelError, match="rows 0 to 31: worker processes died 3 times over the same rows"):
        list(score_locally(job_for(table), iter([deadly]), 1, Event()))


def test_when_it_is_stopped_what_is_written_stays(table: Path, scored: Path, tmp_path: Path) -> None:
    stop = Event()
    summary = score(str(table), tmp_path / "out", LOCAL, lambda rows: stop.set(), stop)
    assert summary.stopped
    assert 0 < summary.rows < ROWS
    assert bytes_of(tmp_path / "out").items() < bytes_of(scored).items()
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_a_plan_without_end_is_read_only_as_far_as_it_is_needed(table: Path) -> None:
    first, stop, taken = next(open_collection(str(table)).chunks(CHUNK)), Event(), 0

    def endless() -> Iterator[Chunk]:
        nonlocal taken
        for number in count():
            taken += 1
            yield replace(first, number=number)

    scored = list(islice(score_locally(job_for(table), endless(), 1, stop), 5))
    assert sorted(one.number for one in scored) == list(range(5))
    assert taken <= 5 + 2


def test_a_finished_job_is_not_scored_twice(table: Path, copied: Path) -> None:
    summary = score(str(table), copied, LOCAL)
    assert (summary.rows, summary.existing, summary.errors, summary.engine) == (ROWS, ROWS, len(BAD), "none")


@pytest.mark.parametrize("how", ["cut", "empty", "other"])
def test_a_damaged_chunk_is_scored_once_more(table: Path, scored: Path, copied: Path, how: str) -> None:
    path = copied / "part-00000003.parquet"
    data = {"cut": path.read_bytes()[:-9], "empty": b"", "other": write_images(path, [b""]).read_bytes()}[how]
    path.write_bytes(data)
    with open_output(copied, job_for(table)) as output:
        chunks = [one for one in open_collection(str(table)).chunks(CHUNK) if output.done(one) is None]
        assert [chunk.number for chunk in chunks] == [3]
        output.write(Scorer(job_for(table)).score(chunks[0]))
    assert bytes_of(copied) == bytes_of(scored)


def test_chunks_with_errors_may_be_scored_once_more(table: Path, scored: Path, copied: Path) -> None:
    summary = score(str(table), copied, replace(LOCAL, retry_errors=True))
    bad = {row // CHUNK for row in BAD}
    assert (summary.rows, summary.existing, summary.errors) == (ROWS, ROWS - CHUNK * len(bad), len(BAD))
    assert bytes_of(copied) == bytes_of(scored)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (replace(LOCAL, model="best"), "the scores of another model .tiny, SHA-256"),
        (replace(LOCAL, batch=8), "begun with --batch-size 16, not 8. Add --batch-size 16"),
        (replace(LOCAL, chunk_size=64), "begun with --chunk-size 32, not 64"),
        (replace(LOCAL, detector="fast", min_face=40), "begun with --detector none, not fast"),
    ],
)
def test_another_model_or_setting_is_refused(table: Path, copied: Path, options: Options, what: str) -> None:
    before = bytes_of(copied)
    with pytest.raises(DataError, match=what):
        score(str(table), copied, options)
    assert bytes_of(copied) == before


def test_the_smallest_face_is_part_of_the_job(table: Path) -> None:
    job = job_for(table, Options("tiny", "fast", min_face=40))
    plain = job_for(table, Options("tiny", "fast"))
    assert (job.settings["min-face"], plain.settings["min-face"]) == (40, None)
    assert job.digest != plain.digest
    with pytest.raises(DataError, match=r"begun without --min-face. Leave --min-face away"):
        check_settings(plain.settings, job, table)
    with pytest.raises(DataError, match=r"begun with --min-face 40, not None. Add --min-face 40"):
        check_settings(job.settings, plain, table)
    assert Scorer(job)._predictor.min_face == 40


def test_another_input_is_refused(table: Path, blobs: list[bytes], copied: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(table, tmp_path / "shards"))
    with pytest.raises(DataError, match=r"it holds the scores of another input \(/.*/shards\)"):
        score(str(other), copied, LOCAL)


def test_an_input_that_has_changed_is_refused(tmp_path: Path) -> None:
    path, names = tmp_path / "list.txt", [f"{row}.png" for row in range(2 * CHUNK)]
    path.write_text("\n".join(names))
    assert score(str(path), tmp_path / "out", LOCAL).errors == 2 * CHUNK
    for changed, what in (
        ([*names[:-1], "new.png"], "the input is not what it was when these rows were scored"),
        (names[:CHUNK], "it holds 1 chunks more than the input has"),
    ):
        path.write_text("\n".join(changed))
        with pytest.raises(DataError, match=what):
            score(str(path), tmp_path / "out", LOCAL)


def test_a_shard_that_has_changed_is_refused(blobs: list[bytes], tmp_path: Path) -> None:
    path = write_images(tmp_path / "a.parquet", blobs[:CHUNK])
    with open_output(tmp_path / "out", job_for(path)) as output:
        output.write(Scorer(job_for(path)).score(next(open_collection(str(path)).chunks(CHUNK))))
    write_images(path, [*blobs[: CHUNK - 1], blobs[0]])
    with pytest.raises(DataError, match="the input is not what it was when these rows were scored"):
        score(str(path), tmp_path / "out", LOCAL)


def test_two_runs_do_not_write_one_folder(table: Path, copied: Path) -> None:
    pytest.importorskip("fcntl")
    with open_output(copied, job_for(table)), pytest.raises(DataError, match="another mien score is writing here"):
        score(str(table), copied, LOCAL)
    assert score(str(table), copied, LOCAL).rows == ROWS


def test_unusable_outputs_and_options_are_refused(table: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    write_images(tmp_path / "mine.parquet", [b""])
    for out, what in (
        (table / "out", "inside the input"),
        (tmp_path / "full", "holds other files"),
        (tmp_path / "file", "no folder"),
        (tmp_path / "file" / "out", "cannot be written"),
        (tmp_path / "mine.parquet", "holds no scores"),
        ("s3://bucket/out", "OUT is a path of this machine"),
    ):
        with pytest.raises(DataError, match=what):
            score(str(table), out, LOCAL)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(DataError, match="only Ray has an address"):
        score(str(table), tmp_path / "new", replace(LOCAL, address="auto"))
    with pytest.raises(ModelError, match="no detector"):
        score(str(table), tmp_path / "new", replace(LOCAL, detector="haar"))
    assert not (tmp_path / "new").exists()


def test_a_damaged_job_file_is_one_error(table: Path, copied: Path) -> None:
    for text in ("{", "[]"):
        (copied / JOB).write_text(text)
        with pytest.raises(DataError, match="this file is damaged"):
            score(str(table), copied, LOCAL)


def test_a_model_that_does_not_run_is_one_error_from_the_worker(table: Path, tmp_path: Path) -> None:
    bundle = load_bundle("tiny")
    job = replace(job_for(table), bundle=replace(bundle, graph=b"no graph"))
    with pytest.raises(ModelError, match="its graph does not run"):
        list(score_locally(job, open_collection(str(table)).chunks(CHUNK), 1, Event()))


def test_footers_name_the_job_and_the_rows(table: Path, scored: Path) -> None:
    chunk = list(open_collection(str(table)).chunks(CHUNK))[3]
    footer = read_metadata(scored / "part-00000003.parquet")
    assert footer is not None
    assert (footer.job, footer.input) == (job_for(table).digest, chunk.digest)
    assert (footer.number, footer.first, footer.rows, footer.errors) == (3, 96, CHUNK, 1)
    settings = json.loads((scored / JOB).read_text())
    assert settings["sha256"] == load_bundle(find_bundle("tiny")).sha256


def test_a_summary_can_be_written_as_json() -> None:
    found = Summary("out", "tiny", "ab", "none", "local", 2, rows=30, existing=10, seconds=4.0).to_dict()
    assert found["rows_a_second"] == 5.0
    assert json.loads(json.dumps(found)) == found
