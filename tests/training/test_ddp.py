"""Several processes: each batch shared out, one history, one clear end."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import write_recipe
from mien.data import Faces
from mien.errors import ParallelError, RecipeError
from mien.models.preprocessing import Preprocessing
from mien.training import Run, load_recipe
from mien.training import train as train_here
from mien.training.augmentation import Augment
from mien.training.ddp import World, process_group
from mien.training.launch import Hosts
from mien.training.loader import Batch, DeviceFaces, PlainBatches, TrainingBatches

AUGMENT = Augment(rotation=10, shift=0.1, zoom=0.1, flip=True, brightness=0.2, contrast=0.2, erase=0.5)

NORM = '''
"""Two processes normalize halves of a batch, and compare with the whole."""
import os, sys
import torch, torch.distributed as dist
import mien.training.launch
from mien.models.networks.batch_norm import Norm
from mien.training import load_recipe
assert "lightning" not in sys.modules  # which takes seconds, and the launcher has no use for it
rank = int(os.fork() == 0)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
torch.manual_seed(0)
x, dy = torch.randn(7, 3, 4, 5) * 2 + 1, torch.randn(7, 3, 4, 5)
rows = slice(0, 3) if rank == 0 else slice(3, 7)
part, norm = x[rows].clone().requires_grad_(), Norm(3, eps=1e-3, momentum=0.05)
y = norm(part)
y.backward(dy[rows])
for grad in (norm.weight.grad, norm.bias.grad):
    dist.all_reduce(grad)
whole, plain = x.clone().requires_grad_(), torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.05)
z = plain(whole)
z.backward(dy)
pairs = [(y, z[rows]), (part.grad, whole.grad[rows]), (norm.weight.grad, plain.weight.grad),
         (norm.bias.grad, plain.bias.grad), (norm.running_mean, plain.running_mean),
         (norm.running_var, plain.running_var)]
print(max(float((one - other).detach().abs().max()) for one, other in pairs), flush=True)
if rank == 0:
    assert os.wait()[1] == 0
'''


@pytest.mark.parametrize(
    "told",
    [
        "Application timeout caused pair closure",  # word for word from runs whose cable was cut
        "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 40000ms for recv",
        "Connection closed by peer [10.77.0.2]:33123",
        "writev [10.77.0.2]:1: Broken pipe",
    ],
)
def test_an_exchange_that_failed_is_told_as_lost_contact(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.training.ddp.grouped", lambda: True)
    monkeypatch.setattr("mien.training.ddp.time.sleep", lambda seconds: None)
    with pytest.raises(ParallelError, match="lost contact"), process_group():
        raise RuntimeError(told)


def test_another_error_among_processes_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.training.ddp.grouped", lambda: True)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), process_group():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)")


def batches(faces: Faces, world: World, size: int = 32) -> list[Batch]:
    return list(TrainingBatches(DeviceFaces.of(faces), size, AUGMENT, Preprocessing(), 5, 0, world=world))


def joined(parts: list[Batch]) -> tuple[Tensor, Tensor]:
    own = [part for part in parts if part.weight]
    return torch.cat([part.images for part in own]), torch.cat([part.labels for part in own])


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_share_each_batch_without_changing_a_face(drawn: Faces, size: int) -> None:
    training = drawn.select("Training").take(range(66))  # the last batch has two faces, fewer than five processes
    whole = batches(training, World(0, 1))
    shared = [batches(training, World(rank, size)) for rank in range(size)]
    for number, batch in enumerate(whole):
        parts = [one[number] for one in shared]
        images, labels = joined(parts)
        assert torch.equal(labels, batch.labels)
        assert torch.allclose(images, batch.images, atol=1e-6)
        mean = sum(part.weight * float(part.images.mean()) for part in parts) / size
        assert mean == pytest.approx(float(batch.images.mean()), abs=1e-5)
        assert len({part.key for part in parts}) == size


def test_every_validation_face_is_judged_once(drawn: Faces) -> None:
    faces = DeviceFaces.of(drawn.select("PublicTest"))
    plain = [PlainBatches(faces, 4, Preprocessing(), World(rank, 2)) for rank in (0, 1)]
    assert [len(one) for one in plain] == [len(list(one)) for one in plain] == [2, 2]
    found = torch.cat([batch.images for one in plain for batch in one])
    assert torch.equal(
        found.sort(0).values, torch.cat([b.images for b in PlainBatches(faces, 4, Preprocessing())]).sort(0).values
    )


def test_norms_see_the_whole_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NORM, str(tmp_path / "meet")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    differences = [float(line) for line in ran.stdout.splitlines()]
    assert len(differences) == 2
    assert max(differences) < 2e-5


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"nodes": 2}, "Give HOST:PORT of host 0"),
        ({"rank": 1}, "host 1 of 1"),
        ({"nodes": 2, "rank": 2}, "host 2 of 2"),
    ],
)
def test_hosts_that_do_not_add_up_are_refused(settings: dict[str, int], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Hosts(**settings)


def train(recipe: Path, data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mien", "train", recipe, "--data", data, "--out", out, "--seed", "1", *options]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings
    )


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does(drawn_csv: Path, tiny_run: Run, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path / "short.yaml"), tmp_path / "run"
    run = train(recipe, drawn_csv, out, "--device", "cpu", "--devices", "2")
    said, told = run.communicate(timeout=300)
    assert run.returncode == 0, told
    assert told.count("epoch   1") == 1
    assert said.count("bundle ") == 1
    for row, alone in zip(history(out), tiny_run.rows, strict=True):
        assert float(row["train_loss"]) == pytest.approx(alone["train_loss"], rel=2e-3)
        assert float(row["val_loss"]) == pytest.approx(alone["val_loss"], rel=5e-3)


def test_a_dead_process_ends_the_run_and_fewer_go_on(drawn_csv: Path, tmp_path: Path) -> None:
    changes = {"phases": [{"name": "all", "train": "all", "epochs": 400, "optimizer": {"name": "adam", "lr": 0.001}}]}
    recipe, out = write_recipe(tmp_path / "long.yaml", **changes), tmp_path / "run"
    run = train(recipe, drawn_csv, out, "--device", "cpu", "--devices", "2")
    while not (out / "history.csv").exists():
        assert run.poll() is None
        time.sleep(0.2)
    os.kill(ranks_of(run.pid)[-1], signal.SIGKILL)
    start = time.monotonic()
    _, told = run.communicate(timeout=120)
    assert time.monotonic() - start < 60
    assert run.returncode == 3
    assert told.count("error: ") == 1
    assert "SIGKILL" in told
    assert "--resume" in told
    done = len(history(out))
    assert not list(out.rglob("*.tmp*"))
    with pytest.raises(InterruptedError):
        train_here(load_recipe(recipe), drawn_csv, out, seed=1, device="cpu", resume=True, on_epoch=interrupt)
    assert [int(row["epoch"]) for row in history(out)][: done + 1] == list(range(1, done + 2))


def interrupt(row: dict[str, Any]) -> None:
    raise InterruptedError(row)


def ranks_of(pid: int) -> list[int]:
    """The processes that a launcher has started, the first rank first."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
