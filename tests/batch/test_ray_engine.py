"""Scoring on Ray: two nodes, one of which is killed in mid-job, give the bytes that one process gives."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from mien.batch.chunks import Chunk
from mien.batch.engines import score_on_ray
from mien.batch.inputs import open_collection
from mien.batch.job import Options, make_job, score
from mien.batch.output import MANIFEST
from mien.batch.scorer import Scorer
from mien.data.synthetic import draw_faces
from mien.errors import ModelError, ParallelError, ServiceError
from mien.inference import Predictor
from support.collections_of_images import BAD, BATCH, CHUNK, bytes_of, images, write_images

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

ROWS = 640
OPTIONS = Options("tiny", batch=BATCH, chunk_size=CHUNK, engine="ray")
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("input") / "a.parquet", images(ROWS))


@pytest.fixture(scope="module")
def alone(table: Path) -> dict[str, bytes]:
    """Every chunk as this process alone scores it."""
    collection = open_collection(str(table))
    scorer = Scorer(make_job(OPTIONS, collection))
    return {f"part-{chunk.number:08}.parquet": scorer.score(chunk).data for chunk in collection.chunks(CHUNK)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node of one processor, which the job's own process is at; a test adds and kills others."""
    patch = pytest.MonkeyPatch()
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"):  # workers that do not give way to other tests
        patch.setenv(name, "0")
    import ray
    from ray.cluster_utils import Cluster

    handler = signal.getsignal(signal.SIGTERM)  # a node sets its own, for good
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 1024**2, "_system_config": QUICK}
    found = Cluster(initialize_head=True, head_node_args=head)
    yield found
    try:
        ray.shutdown()  # a test that failed may have left it connected, and a node in use is not removed
        found.shutdown()
    finally:
        signal.signal(signal.SIGTERM, handler)
        patch.undo()


def test_a_node_killed_in_mid_job_changes_nothing(
    cluster: Any, table: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 1024**2)
    cluster.wait_for_nodes()
    done: list[int] = []

    def kill(rows: int) -> None:
        done.append(rows)
        if len(done) == 5:
            cluster.remove_node(second, allow_graceful=False)

    summary = score(str(table), tmp_path / "out", replace(OPTIONS, address=cluster.address), kill)
    assert (summary.rows, summary.errors, summary.existing, summary.engine) == (ROWS, len(BAD), 0, "ray")
    assert len(done) == ROWS // CHUNK
    assert bytes_of(tmp_path / "out") == alone
    assert (tmp_path / "out" / MANIFEST).is_file()
    import ray

    assert not ray.is_initialized()
    assert "PYTHONBREAKPOINT" not in os.environ


def test_a_model_that_does_not_run_is_the_workers_error(cluster: Any, table: Path) -> None:
    collection = open_collection(str(table))
    job = make_job(OPTIONS, collection)
    is_corrupt = replace(job, bundle=replace(job.bundle, graph=b"no graph"))
    import ray

    for _ in range(3):
        with pytest.raises(ModelError, match="its graph does not run") as caught:
            list(score_on_ray(is_corrupt, collection.chunks(CHUNK), 1, Event(), cluster.address))
        time.sleep(1)
        assert not ray.is_initialized(), "a thread of Ray's own connected anew, unasked"
        assert not [
            one.name
            for one in threading.enumerate()
            if one.name.startswith(("StreamingExecutor", "iter_threaded", "ray-data"))
        ]
        assert caught.tb is not None  # which holds the frames, and in them the data set


class Deadly(Chunk):
    """A chunk that ends the process that unpacks it."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_chunk_that_kills_every_worker_is_one_error(cluster: Any, table: Path) -> None:
    collection = open_collection(str(table))
    chunk = next(collection.chunks(CHUNK))
    deadly = Deadly(chunk.number, chunk.first, chunk.rows, chunk.digest, segments=chunk.segments)
    with pytest.raises(ParallelError, match="Ray failed"):
        list(score_on_ray(make_job(OPTIONS, collection), iter([deadly]), 1, Event(), cluster.address))


def test_when_it_is_stopped_it_ends_and_what_is_written_stays(
    cluster: Any, table: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    stop = Event()
    summary = score(str(table), tmp_path / "out", replace(OPTIONS, address=cluster.address), lambda _: stop.set(), stop)
    assert summary.stopped
    assert 0 < summary.rows < ROWS
    assert bytes_of(tmp_path / "out").items() < alone.items()


def test_a_connected_process_keeps_its_cluster(
    cluster: Any, table: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    import ray

    ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        with pytest.raises(ServiceError, match="connected to another Ray cluster"):
            score(str(table), tmp_path / "out", replace(OPTIONS, address="127.0.0.1:1"))
        assert score(str(table), tmp_path / "out", OPTIONS).rows == ROWS
        assert ray.is_initialized()
    finally:
        ray.shutdown()
    assert bytes_of(tmp_path / "out") == alone


def test_a_predictor_goes_to_another_process_by_ray(cluster: Any) -> None:
    import ray

    predictor, faces = Predictor("tiny", threads=1), draw_faces(3, seed=1).images
    ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        classify = ray.remote(lambda model: model.faces(faces))
        assert ray.get(classify.remote(predictor), timeout=60) == predictor.faces(faces)
    finally:
        ray.shutdown()


def test_ray_of_its_own_keeps_to_this_machine_and_leaves_nothing(
    table: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = [
        "--model",
        "tiny",
        "--batch-size",
        str(BATCH),
        "--chunk-size",
        str(CHUNK),
        "--engine",
        "ray",
        "--workers",
        "1",
    ]
    command = [sys.executable, "-m", "mien", "score", str(table), str(out), *options, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not bytes_of(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    family = descendants(process.pid)
    listening = [address for one in family for address in listens(one)]
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == f"note: {len(BAD)} of {ROWS} rows have an error; the column error says which\n"
    assert json.loads(printed)["engine"] == "ray"
    assert bytes_of(out) == alone
    assert len(listening) > 3
    assert all(ipaddress.ip_address(address).is_loopback for address in listening), listening
    while any(Path(f"/proc/{one}").exists() for one in family):
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)


def descendants(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def listens(process: int) -> list[str]:
    """The addresses at which a process listens by TCP."""
    sockets = set()
    with suppress(OSError):
        sockets = {str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, here, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                found.append(_address(bytes.fromhex(here.partition(":")[0])))
    return found


def _address(words: bytes) -> str:
    """An address as the kernel prints it, in words of four bytes whose order is the machine's."""
    packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    found = ipaddress.ip_address(packed)
    return str(getattr(found, "ipv4_mapped", None) or found)


def test_an_address_where_nothing_answers_is_one_error(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no Ray cluster answers"):
        score(str(table), tmp_path / "out", replace(OPTIONS, address="127.0.0.1:1"))
