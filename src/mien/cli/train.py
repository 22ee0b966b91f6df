"""``mien train``, ``mien summary`` and ``mien demo``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import console, print_json, print_table, stderr
from mien.cli.data import keep_inputs, load
from mien.cli.options import AsJson, Changes, Data, Device, LabelOrderName, Recipe, Weights

if TYPE_CHECKING:
    from mien.data.faces import Faces
    from mien.data.shards.reader import Shards
    from mien.emotions import LabelOrder
    from mien.evaluation.pipeline import Outcome
    from mien.training.loop import TrainOptions


def epoch_line(row: dict[str, Any]) -> None:
    """Print an epoch's figures as one line on stderr."""
    stderr.print(
        f"{row['phase']:<12} epoch {row['epoch']:>3}  lr {row['lr']:<8.3g}"
        f"  train {row['train_loss']:.4f} / {row['train_accuracy']:6.2%}"
        f"  validation {row['val_loss']:.4f} / {row['val_accuracy']:6.2%}  {row['seconds']:5.1f} s",
        markup=False,
    )


def train(
    recipe: Recipe,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder of the run.")],
    data: Data = None,
    changes: Changes = None,
    start: Annotated[
        str | None, typer.Option("--init", metavar="MODEL", help="Initialise the network from this model.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The random seed.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    weights: Weights = None,
    device: Device = "auto",
    stream: Annotated[
        bool, typer.Option("--stream", help="Stream DATA, a folder of shards, instead of loading it into memory.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard logs to RUN/tensorboard.")
    ] = False,
    devices: Annotated[int, typer.Option("--devices", help="Processes per host.", min=1)] = 1,
    nodes: Annotated[int, typer.Option("--nodes", help="Hosts; run the command on each.", min=1)] = 1,
    node_rank: Annotated[int, typer.Option("--node-rank", help="The rank of this host, from 0.", min=0)] = 0,
    master: Annotated[str | None, typer.Option("--master", metavar="HOST:PORT", help="The address of host 0.")] = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Train a model by a recipe and evaluate it; the model, metrics and plots go to RUN.

    Several processes share each batch (PyTorch DDP); hosts need RUN on a file system that all of them see.
    """
    from mien.errors import require

    require("torch", "train")
    from mien.training import load_recipe
    from mien.training.ddp import World
    from mien.training.launch import Hosts, launch
    from mien.training.run_folder import run_outputs

    sets = [*(changes or []), *([] if start is None else [f"start={start_name(start)}"])]
    settings = load_recipe(recipe, sets)
    if not resume:
        keep_inputs(run_outputs(out), data)
    hosts, world = Hosts(devices, nodes, node_rank, master), World.here()
    if hosts.many and world.size == 1:
        raise typer.Exit(launch(["-m", "mien", *sys.argv[1:]], hosts))
    require("lightning", "train")
    from mien.training.data_source import has_votes

    faces = _data(data, stream, label_order)
    if getattr(settings.network, "votes", False) and not has_votes(faces):
        stderr.print(f"{faces.name}: no FER+ votes are known for these faces: it trains without the FER+ head")
    options: TrainOptions = {"seed": seed, "resume": resume, "weights": weights, "device": device}
    if not world.first:
        from mien.training import train as train_only

        train_only(settings, faces, out, **options)
        return
    from mien.evaluation.pipeline import run_recipe

    options |= {"tensorboard": tensorboard, "on_epoch": epoch_line}
    outcome = run_recipe(settings, faces, out, command=_command(recipe, sets, seed, stream), **options)
    if as_json:
        print_json(outcome.result)
    else:
        print_outcome(outcome)


def start_name(model: str) -> str:
    """A model's name as a YAML value, so that no name is read as a number or a list."""
    return json.dumps(model, ensure_ascii=False)


def _data(source: Path | None, stream: bool, label_order: LabelOrder | None) -> Faces | Shards:
    if not stream:
        return load(source, label_order=label_order)
    from mien.data.load import find_source
    from mien.data.shards.reader import Shards

    return Shards.open(find_source(source))


def _command(recipe: str, changes: list[str], seed: int, stream: bool) -> str:
    """The command that reproduces the model, without this machine's paths."""
    sets = " ".join(f"--set {shlex.quote(change)}" for change in changes)
    streamed = "--stream" if stream else ""
    return " ".join(f"mien train {recipe} --data D {streamed} --out RUN {sets} --seed {seed}".split())


def print_outcome(outcome: Outcome) -> None:
    """Print a run's figures on both of its splits."""
    rows = []
    for role, part in (("validation", outcome.validation), ("test", outcome.test)):
        figures = part.figures
        clean = figures["clean"]
        rows.append(
            [
                f"{role}: {part.split}",
                f"{figures['n']:,}",
                f"{figures['accuracy']:.2%}",
                "-" if clean is None or clean["accuracy"] is None else f"{clean['accuracy']:.2%}",
                f"{figures['macro_f1']:.3f}",
                f"{figures['nll']:.3f}",
                f"{figures['ece']:.3f}",
            ]
        )
    title = f"{outcome.bundle.card.title} on {outcome.test.data['name']}"
    print_table(title, ["split", "faces", "accuracy", "clean", "macro F1", "NLL", "ECE"], rows)
    print_agreement(outcome.test.figures["ferplus"])
    console.print(f"bundle   {outcome.bundle.path}  (SHA-256 {outcome.bundle.sha256[:16]}…)", markup=False)
    console.print(f"plots and tables in {outcome.out}", markup=False)


def print_agreement(ferplus: dict[str, Any] | None) -> None:
    """Print the agreement with the FER+ majority, where there are votes."""
    if ferplus and ferplus["agreement"] is not None:
        balanced = f"class-balanced {ferplus['balanced']:.2%}, ECE {ferplus['ece']:.3f}"
        console.print(
            f"{ferplus['agreement']:.2%} agreement with the FER+ majority ({ferplus['n']:,} clear faces), {balanced}"
        )


def summary(
    model: Annotated[str, typer.Argument(metavar="RECIPE|MODEL", help="A recipe, or a model.")],
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="OUT.svg", help="Draw the network.")] = None,
) -> None:
    """Show the layers, shapes and parameters of a network, and what each phase trains."""
    from mien.errors import require

    require("torch", "train")
    from mien._utils.files import protect
    from mien.training.summary import summarize_network

    protect([plot], [model])
    found = summarize_network(model)
    if plot:
        from mien.evaluation import plots
        from mien.evaluation.network_diagram import draw_structure

        plots.save(draw_structure(found), plot)
        stderr.print(f"drawn to {plot}", markup=False)
    if as_json:
        print_json(found)
        return
    rows = [[layer["name"], layer["kind"], "x".join(map(str, layer["output"])), f"{layer['parameters']:,}"]
            for layer in found["layers"]]  # fmt: skip
    print_table(found["name"], ["layer", "kind", "output", "parameters"], rows, text=2)
    console.print(f"parameters  {found['parameters']:,} as Keras counts them, {found['stored_parameters']:,} stored")
    for phase in found["phases"]:
        console.print(
            f"phase {phase['name']}: {phase['trainable']:,} trainable as Keras counts them,"
            f" {phase['stored_trainable']:,} stored, {phase['epochs']} epochs at most",
            markup=False,
        )
    if found["note"]:
        console.print(found["note"], markup=False)


NEXT = (
    ("Predict the expressions of a photo, by the most accurate shipped model:", "mien predict photo.jpg"),
    ("Open the page: photos, camera, data set, report:", "mien serve"),
    ("Fine-tune on FER2013 as Kaggle has it:", "mien train fast --data icml_face_data.csv --out runs/fast"),
)
"""What to try after the demo."""


def demo(
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DATA", help="The data set; drawn faces by default.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for everything that is made.")] = Path(
        "demo"
    ),
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Fine-tune the ImageNet network by the article's recipe, shortened; evaluate, report, export and predict."""
    from mien.errors import require

    require("lightning", "train")
    from mien.cli.demo import run_demo

    keep_inputs([out], data)
    faces = load(data, label_order=label_order) if data else None
    made = run_demo(faces, out, on_epoch=epoch_line, report=lambda line: stderr.print(line, markup=False))
    if as_json:
        files = {str(path): what for path, what in made.files.items()}
        print_json(made.outcome.result | {"face": made.face.to_dict(), "files": files})
        return
    print_outcome(made.outcome)
    console.print(f"the exported model on a face of the test split: {made.face}", markup=False)
    print_table("made", ["file", "content"], [[str(path), what] for path, what in made.files.items()], text=2)
    for what, command in NEXT:
        console.print(f"{what}\n  {command.format(out=out)}", markup=False, soft_wrap=True)
    accuracy, test = made.outcome.test.accuracy, made.outcome.test
    console.print(f"accuracy {accuracy:.4f} on {test.data['name']}, {test.split}")
    sys.stdout.flush()
