"""Scoring on Ray: two nodes, one of which is killed in mid-job, give the bytes that one process gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.errors import ServiceError
from mien.score.inputs import open_collection
from mien.score.job import Options, job_of, score
from mien.score.output import MANIFEST
from mien.score.scorer import Scorer
from scoring import BAD, BATCH, PART, bytes_of, pictures, write_pictures

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

ROWS = 640
OPTIONS = Options("tiny", batch=BATCH, part=PART, engine="ray")
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("input") / "a.parquet", pictures(ROWS))


@pytest.fixture(scope="module")
def alone(table: Path) -> dict[str, bytes]:
    """Every part as this process alone scores it."""
    collection = open_collection(str(table))
    scorer = Scorer(job_of(OPTIONS, collection))
    return {f"part-{part.number:08}.parquet": scorer.score(part).data for part in collection.parts(PART)}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each; the job's own process is at the first."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 1024**2, "_system_config": QUICK}
    found = Cluster(initialize_head=True, head_node_args=head)
    yield found
    found.shutdown()


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
    assert (summary.rows, summary.errors, summary.kept, summary.engine) == (ROWS, len(BAD), 0, "ray")
    assert len(done) == ROWS // PART
    assert bytes_of(tmp_path / "out") == alone
    assert (tmp_path / "out" / MANIFEST).is_file()
    import ray

    assert not ray.is_initialized()


def test_ray_of_its_own_goes_on_where_processes_ended(table: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    score(str(table), out, OPTIONS)
    for number in (3, 7):
        (out / f"part-{number:08}.parquet").unlink()
    summary = score(str(table), out, replace(OPTIONS, engine="local", workers=1))
    assert (summary.rows, summary.kept) == (ROWS, ROWS - 2 * PART)
    assert bytes_of(out) == alone


def test_an_address_where_nothing_answers_is_one_error(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no Ray cluster answers"):
        score(str(table), tmp_path / "out", replace(OPTIONS, address="127.0.0.1:1"))
