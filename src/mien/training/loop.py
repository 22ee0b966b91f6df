"""Run a recipe: its phases one after another, resumable at every epoch, into a bundle.

A run folder holds ``recipe.yaml`` (resolved), ``history.csv``, ``best.mien`` and ``checkpoints/``. Every epoch ends
with ``checkpoints/NAME.ckpt`` (weights, optimizer, callbacks, history in one file); every phase ends with
``checkpoints/NAME.safetensors`` (the weights that the next phase starts from). A killed run resumes from these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict, Unpack

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mien._utils.environment import environment
from mien._utils.files import atomic, protect
from mien.data.faces import Faces
from mien.data.load import load_faces, source_files
from mien.data.shards.reader import Shards, ShardSplit
from mien.errors import DivergedError, RecipeError, WeightsError
from mien.models.bundle import BEST, Bundle, Card, save_bundle
from mien.models.calibration import calibrated, with_shares
from mien.models.imagenet import load_imagenet
from mien.models.load import find_bundle, load_bundle
from mien.models.networks.build import Network, build, set_trainable
from mien.models.networks.mobilenet import Pooling
from mien.models.onnx.graph import build_graph
from mien.training.callbacks import (
    History,
    KeepBest,
    OwnSignals,
    PlateauDrop,
    Row,
    copy_weights,
    weights_finite,
    write_history,
)
from mien.training.checkpoints import Checkpoints, read_phase, write_phase
from mien.training.data_source import BatchSource, DataSet, Draws, has_votes, ordered, split_of, training_of
from mien.training.ddp import World, process_group
from mien.training.distillation import Teacher
from mien.training.initialization import adapt_recipe, initialize_from, load_backbone, starting_model
from mien.training.memory import reuse_freed_memory
from mien.training.module import Classifier, Loss, weights_of_counts
from mien.training.progress import Bar, quiet_lightning
from mien.training.recipe import Phase, Recipe, load_recipe, recipe_file
from mien.training.run_folder import alone, read_identity, run_outputs
from mien.training.weight_average import RunningAverage


@dataclass
class Run:
    """A run under way, and what it became.

    Attributes:
        out: the run's folder.
        recipe: the resolved recipe.
        seed: of weights, order and augmentation.
        device: ``cpu`` or ``cuda``.
        rows: the history, one row an epoch.
        bundle: the trained model, once there is one.
        seconds: wall time of training, all sessions of a resumed run together.
        world: the processes that train together; only the first of them writes, and has a bundle in the end.
        started: name and SHA-256 of the model that the recipe starts from, or None.
    """

    out: Path
    recipe: Recipe
    seed: int = 0
    device: str = "cpu"
    rows: list[Row] = field(default_factory=list)
    bundle: Bundle | None = None
    tensorboard: bool = False
    progress: bool = True
    on_epoch: Callable[[Row], None] = lambda row: None
    world: World = field(default_factory=World.here)
    started: dict[str, str] | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the run keeps what it resumes from."""
        return self.out / "checkpoints"

    @property
    def seconds(self) -> float:
        """Wall time of all epochs, validation included."""
        return float(sum(row["seconds"] for row in self.rows))


class TrainOptions(TypedDict, total=False):
    """What :func:`train` takes beside recipe, data and folder."""

    seed: int
    """Decides the head's first weights, the order of the faces and their augmentation; 0 where it is not given."""
    resume: bool
    """Go on with the run in the folder, to the same result as an unbroken run."""
    weights: str | Path | None
    """A local file of ImageNet weights, where the recipe starts from these."""
    device: str
    """``auto`` (where it is not given), ``cpu`` or ``cuda``."""
    tensorboard: bool
    """Also log to ``tensorboard`` in the folder."""
    progress: bool
    """Show a bar where stderr is a terminal; True where it is not given."""
    on_epoch: Callable[[Row], None]
    """Called with each epoch's row of the history."""


def train(
    recipe: Recipe | str | Path, data: DataSet | str | Path, out: str | Path, **options: Unpack[TrainOptions]
) -> Run:
    """Train a recipe on a data set.

    Args:
        recipe: a recipe, a shipped one's name, or a YAML file. On classes of one's own it is adapted
            (:func:`mien.training.initialization.adapt_recipe`), and on faces without FER+ votes.
        data: faces, or any data set that :func:`mien.load_faces` reads; or shards, of which Training is streamed, in
            the recipe's order of blocks (where it has none, in :class:`mien.training.blocks.Blocks`' own).
        out: the run's folder; it must not hold a run already, but to resume it.
        options: see :class:`TrainOptions`.

    Raises:
        MienError: for data, recipes or weights that do not fit, where training diverges, and where another process
            trains into the folder.
        OSError: where the folder cannot be written.
    """
    resume, source = options.get("resume", False), None if isinstance(data, Faces | Shards) else data
    named = None if resume or isinstance(recipe, Recipe) else recipe_file(recipe)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    read = [named, options.get("weights"), recipe.start and find_bundle(recipe.start)]
    protect(run_outputs(out), chain(read, [] if source is None else source_files(source)))
    faces = data if isinstance(data, Faces | Shards) else load_faces(data)
    start = starting_model(recipe)
    recipe = adapt_recipe(recipe, faces.labels, start, has_votes(faces))
    run = _new_run(Path(out), recipe, options)
    run.recipe = recipe = ordered(recipe, faces, run.world)
    training, validation = training_of(faces, recipe), split_of(faces, recipe.data.validation, recipe)
    run.started = initialize_from(start)
    with alone(run.out, run.checkpoints) if run.world.first else nullcontext():
        _open(run, faces, resume)
        network = _first_network(run, options.get("weights"))
        if start is not None:
            load_backbone(network, start, faces.labels)
        if run.device == "cpu":
            reuse_freed_memory()
        with quiet_lightning():
            for number, phase in enumerate(recipe.phases, start=1):
                _run_phase(run, network, number, phase, training, validation, faces)
        if run.world.first:
            run.bundle = _save(run, network, faces, training, validation if recipe.calibrate else None)
    return run


def _new_run(out: Path, recipe: Recipe, options: TrainOptions) -> Run:
    run = Run(out, recipe, options.get("seed", 0), _device(options.get("device", "auto")))
    run.tensorboard, run.progress = options.get("tensorboard", False), options.get("progress", True)
    run.on_epoch = options.get("on_epoch", run.on_epoch)
    return run


def _device(device: str) -> str:
    cuda = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"there is no device {device!r}", "--device", "Choose auto, cpu or cuda.")
    if device == "cuda" and not cuda:
        raise RecipeError("PyTorch finds no CUDA device here", "--device", "Use --device cpu.")
    return "cuda" if cuda and device != "cpu" else "cpu"


def _open(run: Run, faces: DataSet, resume: bool) -> None:
    """Make the run's folder, or check that the one to resume holds the same run."""
    if not run.world.first:
        return
    identity = {"recipe": run.recipe.model_dump(mode="json"), "data": faces.fingerprint, "seed": run.seed}
    identity["start"] = run.started
    note = run.checkpoints / "run.json"
    if resume and note.is_file():
        before = read_identity(note)
        changed = [name for name, value in identity.items() if before.get(name) != value]
        if changed:
            raise RecipeError(f"{' and '.join(changed)} differ from the run there", run.out, "Name another --out.")
    elif note.is_file():
        raise RecipeError("there is a run already", run.out, "Add --resume to go on with it, or name another --out.")
    else:
        with atomic(note) as temporary:
            temporary.write_text(json.dumps(identity, indent=2))
    with atomic(run.out / "recipe.yaml") as temporary:
        temporary.write_text(run.recipe.to_yaml(), encoding="utf-8")


def _first_network(run: Run, weights: str | Path | None) -> Network:
    """The network as it is before the first phase; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        network = build(run.recipe.network)
    if isinstance(network, Pooling):
        if run.recipe.batch_norm == "frozen":
            network.freeze_norm()
        if run.recipe.imagenet:
            load_imagenet(network, weights)
    elif weights is not None:
        raise WeightsError(f"the recipe {run.recipe.name} takes no ImageNet weights", weights, "Leave --weights out.")
    return network


def _run_phase(
    run: Run,
    network: Network,
    number: int,
    phase: Phase,
    training: Faces | ShardSplit,
    validation: Faces,
    faces: DataSet,
) -> None:
    """Train one phase, or load what it left where it is done."""
    name = f"{number}-{phase.name}"
    done, checkpoint = run.checkpoints / f"{name}.safetensors", run.checkpoints / f"{name}.ckpt"
    if done.is_file():
        weights, run.rows[:] = read_phase(done)
        network.load_state_dict(weights)
        return
    set_trainable(network, phase.train)
    history = History(phase, run.rows)
    average = [RunningAverage(run.recipe.average)] if run.recipe.average else []
    best = KeepBest(phase.early_stopping, history, average[0].weights if average else None)
    module = Classifier(network, phase, _loss(run.recipe, phase, training))
    if run.rows:  # an earlier phase's result is saved where this one diverges at once
        best.weights = copy_weights(network)
    trainer = _trainer(run, phase, name, [*average, history, best, *_plateau(phase, history), _EpochReporter(run)])
    batches = BatchSource(Draws(run.recipe, run.seed, run.device, run.world), training, validation, run.rows)
    try:
        with process_group():
            trainer.fit(module, datamodule=batches, ckpt_path=checkpoint if checkpoint.is_file() else None)
    except DivergedError as error:
        raise _kept(error, run, network, best, faces, training) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from error
    network.load_state_dict(best.weights)
    if not run.world.first:
        return
    write_phase(done, best.weights, run.rows)


def _loss(recipe: Recipe, phase: Phase, training: Faces | ShardSplit) -> Loss:
    counts = torch.tensor(list(training.label_counts().values()))
    weights = weights_of_counts(counts, recipe.class_weights)
    smoothing = recipe.label_smoothing if phase.label_smoothing is None else phase.label_smoothing
    return Loss(weights, smoothing, recipe.votes_weight, _teacher(recipe, training.labels))


def _teacher(recipe: Recipe, labels: tuple[str, ...]) -> Teacher | None:
    return Teacher.load(recipe.distill, recipe.preprocessing, labels) if recipe.distill else None


def _plateau(phase: Phase, history: History) -> list[L.Callback]:
    return [PlateauDrop(phase.plateau, history)] if phase.plateau else []


def _trainer(run: Run, phase: Phase, name: str, callbacks: list[L.Callback]) -> L.Trainer:
    keep = ModelCheckpoint(
        run.checkpoints, name, save_top_k=1, monitor=None, enable_version_counter=False, save_on_train_epoch_end=True
    )
    shown = run.progress and run.world.first and sys.stderr.isatty()
    bar = [Bar(phase.name, run.recipe.batch_size)] if shown else []
    return L.Trainer(
        accelerator="gpu" if run.device == "cuda" else "cpu",
        precision="bf16-mixed" if run.device == "cuda" else "32-true",
        max_epochs=phase.epochs,
        callbacks=[*callbacks, *bar, keep, OwnSignals()],
        logger=_logger(run, name),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        inference_mode=True,
        plugins=[Checkpoints()],
        **run.world.trainer(run.device),
    )


def _logger(run: Run, name: str) -> Any:
    if not run.tensorboard or not run.world.first:
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(run.out / "tensorboard", name="", version=name)


class _EpochReporter(L.Callback):
    """After each epoch: write the history, call ``on_epoch``, and log to TensorBoard where set."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Pass on the epoch's row."""
        if not self.run.world.first:
            return
        row = self.run.rows[-1]
        write_history(self.run.rows, self.run.out / "history.csv")
        figures = {name: value for name, value in row.items() if isinstance(value, float)}
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=row["epoch"])
        self.run.on_epoch(row)


def _kept(
    error: DivergedError, run: Run, network: Network, best: KeepBest, faces: DataSet, training: Faces | ShardSplit
) -> DivergedError:
    """The same error, with the path of the last good weights where there are any."""
    phase_steps = f"{error.what}; no weights were saved, since no epoch had ended"
    if run.world.first and best.weights and weights_finite(best.weights):
        network.load_state_dict(best.weights)
        saved = _save(run, network, faces, training)
        phase_steps = f"{error.what}; the weights of the last good epoch are in {saved.path}"
    return DivergedError(phase_steps, run.recipe.name, error.mend)


def _save(
    run: Run, network: Network, faces: DataSet, training: Faces | ShardSplit, validation: Faces | None = None
) -> Bundle:
    """Write the bundle; with a validation split its temperatures and default output are fitted on that."""
    weights = {
        name: tensor.detach().cpu().contiguous().numpy()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    spec = run.recipe.network
    best = max(run.rows, key=lambda row: row["val_accuracy"], default={})
    provenance = {
        "recipe": run.recipe.model_dump(mode="json"),
        "data": {"name": faces.name, "fingerprint": faces.fingerprint, "splits": faces.splits()},
        "notes": list(faces.notes) if isinstance(faces, Faces) else [],
        "seed": run.seed,
        "device": run.device,
        "epochs": len(run.rows),
        "best_epoch": best.get("epoch"),
        "validation": {"split": run.recipe.data.validation, "accuracy": best.get("val_accuracy")},
        "seconds": round(run.seconds, 1),
        "start": run.started,
        "teacher": load_bundle(run.recipe.distill.teacher).sha256 if run.recipe.distill else None,
        **environment(),
    }
    card = Card(
        name=run.recipe.name,
        network=spec,
        labels=faces.labels,
        preprocessing=run.recipe.preprocessing,
        provenance=provenance,
    )
    bundle = Bundle(card, weights, build_graph(spec, weights))
    bundle = with_shares(bundle, [training] if isinstance(training, Faces) else training)
    if validation is not None:
        bundle = calibrated(bundle, validation)
    return save_bundle(bundle, run.out / BEST)


__all__ = ["Run", "TrainOptions", "train", "write_history"]
