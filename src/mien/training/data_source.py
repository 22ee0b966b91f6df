"""The data of each epoch: training batches from memory or from shards, and validation batches."""

from __future__ import annotations

from dataclasses import dataclass

import lightning as L

from mien.data.faces import Faces
from mien.data.shards.reader import Shards, ShardSplit
from mien.errors import DataError, RecipeError
from mien.models.spec import Head, heads
from mien.training.blocks import BlockBatches, Blocks, InMemory, Streamed
from mien.training.ddp import World
from mien.training.loader import DeviceFaces, PlainBatches, TrainingBatches
from mien.training.recipe import Recipe

VALIDATION_BATCH = 512

DataSet = Faces | Shards
"""A data set in memory, or one that is streamed."""


@dataclass(frozen=True)
class Draws:
    """What decides the batches beside the faces: the recipe, the run's seed, its device and its processes."""

    recipe: Recipe
    seed: int
    device: str
    world: World


class BatchSource(L.LightningDataModule):
    """Fresh training batches each epoch, from the run's seed and the epoch's number.

    Args:
        draws: what decides the batches.
        training: the training faces.
        validation: the validation faces, which are held in memory in any case.
        rows: the history, whose length is the epoch's number.
    """

    def __init__(self, draws: Draws, training: Faces | ShardSplit, validation: Faces, rows: list[dict[str, object]]):
        super().__init__()
        self.draws, self.rows = draws, rows
        votes = Head.VOTES in heads(draws.recipe.network)
        self.training: DeviceFaces | Streamed = (
            Streamed(training, draws.device, votes)
            if isinstance(training, ShardSplit)
            else DeviceFaces.of(training, draws.device, votes)
        )
        self.validation = DeviceFaces.of(validation, draws.device)

    def train_dataloader(self) -> TrainingBatches | BlockBatches:
        """The batches of the epoch that begins."""
        recipe, epoch = self.draws.recipe, len(self.rows)
        views = recipe.distill.views if recipe.distill else None
        if recipe.order is None:
            assert isinstance(self.training, DeviceFaces)
            faces, seed, world = self.training, self.draws.seed, self.draws.world
            how = (recipe.batch_size, recipe.augment, recipe.preprocessing)
            return TrainingBatches(faces, *how, seed, epoch, views, world)
        return self._blocks(recipe.order, epoch, views)

    def _blocks(self, order: Blocks, epoch: int, views: int | None) -> BlockBatches:
        recipe, in_memory = self.draws.recipe, isinstance(self.training, DeviceFaces)
        return BlockBatches(
            InMemory(self.training) if isinstance(self.training, DeviceFaces) else self.training,
            recipe.batch_size,
            recipe.augment,
            recipe.preprocessing,
            self.draws.seed,
            epoch,
            order,
            views,
            self.draws.world,
            keys=in_memory,
        )

    def val_dataloader(self) -> PlainBatches:
        """The validation split in its own order."""
        return PlainBatches(self.validation, VALIDATION_BATCH, self.draws.recipe.preprocessing, self.draws.world)


def ordered(recipe: Recipe, data: DataSet, world: World) -> Recipe:
    """The recipe with an order that the data can be read in; faces in memory take any.

    Raises:
        RecipeError: where blocks, lanes, batches, shards and processes do not fit together.
    """
    if isinstance(data, Shards):
        order = recipe.order or Blocks(block=data.index.block)
        recipe = recipe.model_copy(update={"order": order})
        if order.block != data.index.block:
            what = f"blocks of {order.block} faces, but the shards' have {data.index.block}"
            raise RecipeError(what, recipe.name, f"Add --set order.block={data.index.block}.")
    if recipe.batch_size < world.size:
        what = f"{world.size} processes share batches of {recipe.batch_size} faces"
        raise RecipeError(what, recipe.name, "Take fewer processes, or --set batch_size=...")
    if recipe.order is not None:
        _check_lanes(recipe, recipe.order, world)
    return recipe


def _check_lanes(recipe: Recipe, order: Blocks, world: World) -> None:
    if recipe.batch_size % order.lanes:
        what = f"batches of {recipe.batch_size} faces cannot take as many from each of {order.lanes} lanes"
        raise RecipeError(what, recipe.name, "Take a divisor: --set order.lanes=...")
    if world.size > order.lanes:
        what = f"{world.size} processes share {order.lanes} lanes"
        raise RecipeError(what, recipe.name, "Take fewer processes, or more lanes: --set order.lanes=...")


def split_of(data: DataSet, name: str, recipe: Recipe) -> Faces:
    """A split in memory, which the recipe can use.

    Raises:
        DataError: where there is no such split, or it has other classes.
    """
    part = data.select(name)
    check_fit(part, recipe)
    return part


def training_of(data: DataSet, recipe: Recipe) -> Faces | ShardSplit:
    """The training faces, in memory or to be streamed; checked as by :func:`split_of`.

    Raises:
        DataError: as :func:`split_of`; also where there are fewer faces than lanes.
    """
    if isinstance(data, Faces):
        part: Faces | ShardSplit = split_of(data, recipe.data.train, recipe)
    else:
        part = data.split(recipe.data.train)
        check_fit(part, recipe)
    if recipe.order is not None and len(part) < recipe.order.lanes:
        mend = "Take fewer: --set order.lanes=..."
        raise DataError(f"{len(part)} training faces, but {recipe.order.lanes} lanes", part.name, mend)
    return part


def has_votes(data: DataSet) -> bool:
    """Whether the faces have FER+ votes."""
    return data.votes is not None if isinstance(data, Faces) else data.index.votes


def check_fit(part: Faces | ShardSplit, recipe: Recipe) -> None:
    """Refuse faces that the recipe cannot use.

    Raises:
        DataError: where they have other classes.
    """
    if len(part.labels) != recipe.network.classes:
        raise DataError(f"{len(part.labels)} classes, but the recipe has {recipe.network.classes}", part.name)
