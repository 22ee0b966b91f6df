"""The order of blocks: no face lost, none twice, the same batches in any number of processes, from memory or shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import Faces
from mien.data.shards.reader import Shards
from mien.data.shards.writer import write_shards
from mien.errors import DataError, RecipeError
from mien.models.preprocessing import Preprocessing
from mien.training.augmentation import Augment
from mien.training.blocks import BlockBatches, Blocks, EpochOrder, InMemory, Source, Streamed
from mien.training.ddp import ALONE, World
from mien.training.loader import Batch, DeviceFaces

AUGMENT = Augment(rotation=10, shift=0.1, zoom=0.1, flip=True, brightness=0.2, contrast=0.2, erase=0.5)


def numbered(n: int) -> InMemory:
    """Faces of one pixel whose label is their number."""
    return InMemory(DeviceFaces(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n)))


def epoch(source: Source, how: Blocks, size: int, world: World = ALONE, **more: object) -> list[Batch]:
    settings = {"augment": Augment(), "seed": 3, "epoch": 0, **more}
    return list(BlockBatches(source, size, preprocessing=Preprocessing(), how=how, world=world, **settings))  # type: ignore[arg-type]


@given(
    n=st.integers(8, 300),
    block=st.integers(1, 40),
    lanes=st.integers(1, 4),
    window=st.integers(1, 5),
    each=st.integers(1, 9),
    size=st.integers(1, 4),
)
@settings(max_examples=60)
def test_every_face_comes_once_and_processes_share_each_batch(
    n: int, block: int, lanes: int, window: int, each: int, size: int
) -> None:
    how, size = Blocks(block=block, lanes=lanes, window=window), min(size, lanes)
    whole = [batch.labels for batch in epoch(numbered(n), how, each * lanes)]
    assert sorted(torch.cat(whole).tolist()) == list(range(n))
    assert {len(labels) for labels in whole[:-1]} <= {each * lanes}
    assert len(whole) == -(-n // (each * lanes))
    ranks = [epoch(numbered(n), how, each * lanes, World(rank, size)) for rank in range(size)]
    for step, labels in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert torch.equal(torch.cat([part.labels for part in parts if part.weight]), labels)
        assert sum(part.weight for part in parts) == pytest.approx(size)
        assert all(part.weight == pytest.approx(size * len(part.labels) / len(labels)) for part in parts if part.weight)
        assert all(len(part.labels) == 1 for part in parts if not part.weight)


@given(n=st.integers(1, 500), block=st.integers(1, 50), lanes=st.integers(1, 5), window=st.integers(1, 5))
@settings(max_examples=60)
def test_a_lane_reads_a_window_of_whole_blocks_at_a_time(n: int, block: int, lanes: int, window: int) -> None:
    order = EpochOrder(Blocks(block=block, lanes=lanes, window=window), n, 5)
    for lane in range(lanes):
        read = 0
        for pieces, rows in order.windows(lane):
            assert 1 <= len(pieces) <= window
            assert all(start // block == (stop - 1) // block for start, stop in pieces)
            assert sorted(rows.tolist()) == list(range(sum(stop - start for start, stop in pieces)))
            read += len(rows)
        assert read == order.rows(lane)


def test_seed_and_epoch_decide_the_order_and_views_come_round() -> None:
    def labels(**more: object) -> list[int]:
        return torch.cat([b.labels for b in epoch(numbered(200), Blocks(block=8, lanes=2), 16, **more)]).tolist()

    assert labels() == labels()
    assert labels() != labels(epoch=1)
    assert labels() != labels(seed=4)
    assert labels(views=2, epoch=5) == labels(views=2, epoch=1)


def test_faces_of_one_class_after_another_are_mixed() -> None:
    """4,000 faces of ten classes in order: each batch of 64 has at least five of them."""
    source = InMemory(DeviceFaces(torch.zeros(4000, 1, 1, 1, dtype=torch.uint8), torch.arange(4000) // 400))
    batches = epoch(source, Blocks(block=32, lanes=8, window=4), 64)
    assert min(len(set(batch.labels.tolist())) for batch in batches[:-1]) >= 5


@pytest.fixture(scope="module")
def shards(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The 120 drawn Training faces with votes, in blocks of 8, three of them a file."""
    votes = np.random.default_rng(1).integers(0, 11, (len(drawn), 10), dtype=np.uint8)
    faces = Faces(drawn.images, drawn.emotion, drawn.usage, drawn.row, votes)
    return write_shards(faces, tmp_path_factory.mktemp("blocks") / "shards", rows=24, block=8)[0]


HOW = Blocks(block=8, lanes=4, window=2)


@pytest.mark.parametrize("world", [World(0, 1), World(1, 2), World(2, 3)])
def test_shards_give_the_batches_of_memory_bit_for_bit(shards: Shards, world: World) -> None:
    memory = InMemory(DeviceFaces.of(shards.select("Training"), votes=True))
    streamed = Streamed(shards.split("Training"), votes=True)
    for one, other in zip(*(epoch(s, HOW, 32, world, augment=AUGMENT) for s in (memory, streamed)), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.shares is not None
        assert other.shares is not None
        assert torch.equal(one.shares, other.shares)
        assert (one.key, one.weight) == (other.key, other.weight)


def test_processes_see_the_same_augmented_faces_as_one(shards: Shards) -> None:
    source = Streamed(shards.split("Training"))
    whole = epoch(source, HOW, 32, augment=AUGMENT)
    for size in (2, 3, 4):
        ranks = [epoch(source, HOW, 32, World(rank, size), augment=AUGMENT) for rank in range(size)]
        for step, batch in enumerate(whole):
            images = torch.cat([rank[step].images for rank in ranks if rank[step].weight])
            assert torch.allclose(images, batch.images, atol=1e-6)


def test_a_process_reads_only_its_share(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 15 blocks two processes read 8 each at most: one block lies on the border."""
    seen: list[list[int]] = []
    for rank in (0, 1):
        split, read = shards.split("Training"), []
        plain = split.read
        monkeypatch.setattr(split, "read", lambda number: (read.append(number), plain(number))[1])  # noqa: B023
        epoch(Streamed(split), HOW, 32, World(rank, 2))
        seen.append(read)
    assert all(len(set(read)) <= 8 for read in seen)
    assert set(seen[0]) | set(seen[1]) == set(range(15))


def test_damage_stops_the_epoch_with_the_shards_name(shards: Shards, tmp_path: Path) -> None:
    for path in shards.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "Training-00002.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(b"P5\n48 48\n255\n") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Training-00002\.parquet: the shard is damaged"):
        epoch(Streamed(Shards.open(tmp_path).split("Training")), HOW, 32)


def test_leaving_an_epoch_early_leaves_no_thread(shards: Shards) -> None:
    import threading

    before = threading.active_count()
    batches = iter(BlockBatches(Streamed(shards.split("Training")), 32, Augment(), Preprocessing(), 0, 0, HOW))
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_lanes_that_do_not_fit_are_refused(shards: Shards) -> None:
    from conftest import tiny_recipe
    from mien.training.data_source import ordered, training_of

    alone = World(0, 1)
    recipe = tiny_recipe()
    assert ordered(recipe, shards, alone).order == Blocks(block=8)
    assert ordered(recipe, shards.select("Training"), alone) is recipe
    for changes, world, told in (
        ({"order": {"block": 16}}, alone, "--set order.block=8"),
        ({"order": {"block": 8, "lanes": 5}}, alone, "from each of 5 lanes"),
        ({"order": {"block": 8, "lanes": 2}}, World(0, 3), "3 processes share 2 lanes"),
        ({"batch_size": 2}, World(0, 3), "3 processes share batches of 2 faces"),
    ):
        with pytest.raises(RecipeError, match=told):
            ordered(tiny_recipe(**changes), shards, world)
    many = tiny_recipe(order={"block": 8, "lanes": 128}, batch_size=128)
    with pytest.raises(DataError, match="120 training faces, but 128 lanes"):
        training_of(shards, many)
