"""The loader: order and augmentation follow from seed and epoch alone, and no face is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.data import Faces
from mien.errors import DataError
from mien.models.preprocessing import Preprocessing
from mien.training.augmentation import Augment
from mien.training.loader import DeviceFaces, PlainBatches, TrainingBatches

FLIP = Augment(shift=0.1, flip=True)


def numbered(n: int) -> DeviceFaces:
    """Faces whose label is their number, and whose every pixel tells it too."""
    images = (torch.arange(n) % 256).to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 48, 48)
    return DeviceFaces(images, torch.arange(n))


def batches(
    n: int = 50, size: int = 16, seed: int = 0, epoch: int = 0, augment: Augment | None = None
) -> TrainingBatches:
    return TrainingBatches(numbered(n), size, augment or Augment(), Preprocessing(), seed, epoch)


@pytest.mark.parametrize(
    ("n", "size", "count", "last"), [(50, 16, 4, 2), (48, 16, 3, 16), (5, 16, 1, 5), (17, 16, 2, 1), (1, 1, 1, 1)]
)
def test_every_face_comes_exactly_once_and_the_last_batch_is_partial(n: int, size: int, count: int, last: int) -> None:
    loader = batches(n, size)
    parts = [batch.labels for batch in loader]
    assert len(loader) == len(parts) == count
    assert [len(part) for part in parts] == [size] * (count - 1) + [last]
    assert sorted(torch.cat(parts).tolist()) == list(range(n))


def test_the_articles_449_steps_end_with_37_faces() -> None:
    loader = TrainingBatches(numbered(28_709), 64, Augment(), Preprocessing(), 0, 0)
    assert len(loader) == 449
    assert 28_709 - 448 * 64 == 37


def test_images_stay_with_their_labels() -> None:
    for images, labels, *_ in batches(200, 64):
        assert images.dtype == torch.float32
        assert torch.allclose(images[:, 0, 7, 9] * 255, labels.float())


@pytest.mark.parametrize("augment", [Augment(), FLIP])
def test_seed_and_epoch_decide_everything(augment: Augment) -> None:
    def flat(seed: int, epoch: int) -> torch.Tensor:
        return torch.cat([batch.images.flatten() for batch in batches(seed=seed, epoch=epoch, augment=augment)])

    torch.manual_seed(1)
    first = flat(3, 2)
    torch.manual_seed(2)
    assert torch.equal(first, flat(3, 2))
    for seed, epoch in ((3, 3), (4, 2), (2, 3)):
        assert not torch.equal(first, flat(seed, epoch))


def test_one_batch_mixes_mirrored_and_unmirrored_faces() -> None:
    images = torch.zeros(64, 1, 48, 48, dtype=torch.uint8)
    images[..., :10] = 255
    faces = DeviceFaces(images, torch.zeros(64, dtype=torch.long))
    ((found, *_),) = TrainingBatches(faces, 64, Augment(flip=True), Preprocessing(), 0, 0)
    left = found[:, 0, 20, 2] > 0.5
    right = found[:, 0, 20, 45] > 0.5
    assert bool((left ^ right).all())
    assert 15 < int(right.sum()) < 49


def test_augmented_pixels_stay_in_the_range_of_the_scaling() -> None:
    for images, *_ in TrainingBatches(numbered(64), 64, FLIP, Preprocessing(scaling="signed"), 0, 0):
        assert -1 - 1e-5 <= float(images.min()) < -0.9
        assert float(images.max()) <= 1 + 1e-5


def test_plain_batches_keep_the_order() -> None:
    loader = PlainBatches(numbered(20), 8, Preprocessing())
    parts = [batch.labels for batch in loader]
    assert (len(loader), [len(part) for part in parts]) == (3, [8, 8, 4])
    assert torch.cat(parts).tolist() == list(range(20))


def test_the_callers_faces_are_neither_copied_nor_changed(some_faces: Faces) -> None:
    before = some_faces.images.copy()
    faces = DeviceFaces.of(some_faces)
    assert faces.images.shape == (42, 1, 48, 48)
    assert faces.images.data_ptr() == some_faces.images.ctypes.data
    wild = Augment(rotation=20, shift=0.1, zoom=0.1, flip=True, brightness=0.2, contrast=0.2, erase=1.0)
    for loader in (TrainingBatches(faces, 16, wild, Preprocessing(), 0, 0), PlainBatches(faces, 16, Preprocessing())):
        for batch in loader:
            batch.images.zero_()
    assert np.array_equal(some_faces.images, before)


def test_faces_that_may_not_be_written_to_are_copied(some_faces: Faces) -> None:
    images = some_faces.images.copy()
    images.flags.writeable = False
    faces = DeviceFaces.of(replace(some_faces, images=images))
    assert faces.images.data_ptr() != images.ctypes.data
    assert np.array_equal(faces.images[:, 0].numpy(), images)


def test_faces_without_label_are_refused(some_faces: Faces) -> None:
    emotion = some_faces.emotion.copy()
    emotion[[3, 9]] = -1
    with pytest.raises(DataError, match="2 faces have no label"):
        DeviceFaces.of(replace(some_faces, emotion=np.asarray(emotion)))


def test_votes_go_with_their_faces(some_faces: Faces) -> None:
    faces = DeviceFaces.of(some_faces, votes=True)
    assert faces.shares is not None
    table = {tuple(shares): int(label) for shares, label in zip(faces.shares.tolist(), faces.labels, strict=True)}
    assert len(table) > 30
    for batch in TrainingBatches(faces, 16, FLIP, Preprocessing(), 0, 0):
        assert batch.shares is not None
        assert [table[tuple(shares)] for shares in batch.shares.tolist()] == batch.labels.tolist()
    assert all(batch.shares is None for batch in PlainBatches(faces, 16, Preprocessing()))


def test_wanted_votes_that_are_missing_are_refused(some_faces: Faces) -> None:
    with pytest.raises(DataError, match="no FER\\+ votes"):
        DeviceFaces.of(replace(some_faces, votes=None), votes=True)
    with pytest.raises(DataError, match="seven emotions"):
        DeviceFaces.of(replace(some_faces, labels=tuple("abcdefg")), votes=True)
