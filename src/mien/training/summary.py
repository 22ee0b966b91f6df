"""A network in figures: its layers, shapes and parameters, and what each phase trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.models.bundle import ONNX_SUFFIX, SUFFIX
from mien.models.load import load_bundle
from mien.models.networks.build import Network, build, gray_fold, set_trainable, stored_counts
from mien.models.networks.mobilenet import ConvNorm, Pooling
from mien.models.spec import heads
from mien.training.recipe import Recipe, load_recipe

GRAY_NOTE = (
    "Keras counts the first kernel for three equal input channels. Stored is their sum, one channel (3x3x1x32 in"
    " place of 3x3x3x32): 576 numbers fewer, the same output for gray faces."
)


def summarize_network(model: str | Path) -> dict[str, Any]:
    """Describe a recipe's or a bundle's network.

    Args:
        model: a recipe's name, a recipe file, a bundle, or a run folder.

    Returns:
        ``name``, ``parameters`` (batch-norm statistics counted, as Keras does, for three input channels),
        ``stored_parameters``, ``features`` (shape of the last feature map, channels last), ``layers`` (``name``,
        ``kind``, ``output`` shape channels last, ``parameters`` stored, ``multiply_adds`` a face, those of convolutions
        and dense layers), their sum ``multiply_adds``, ``phases`` (``name``, ``trainable``,
        ``stored_trainable``, ``epochs``) and ``note``.
    """
    recipe = _recipe_of(model)
    network = build(recipe.network).eval()
    layers = _layers(network)
    total, _ = stored_counts(network)
    folded = gray_fold(recipe.network)
    return {
        "name": recipe.name,
        "parameters": total + folded,
        "stored_parameters": total,
        "multiply_adds": sum(layer["multiply_adds"] for layer in layers),
        "features": next(layer["output"] for layer in reversed(layers) if len(layer["output"]) == 3),
        "layers": layers,
        "phases": _phases(recipe, network, folded),
        "note": GRAY_NOTE if folded else "",
    }


def _recipe_of(model: str | Path) -> Recipe:
    path = Path(model)
    if path.suffix in (SUFFIX, ONNX_SUFFIX) or path.is_dir():
        card = load_bundle(path).card
        if "recipe" not in card.provenance:
            raise RecipeError("this bundle has no recipe in its provenance", path)
        return Recipe.model_validate(card.provenance["recipe"])
    return load_recipe(model)


def _layers(network: Network) -> list[dict[str, Any]]:
    """Run one face through the network and note what each layer puts out."""
    found: list[dict[str, Any]] = []
    hooks = [
        module.register_forward_hook(_noting(found, name))
        for name, module in network.named_modules()
        if isinstance(module, ConvNorm | nn.Conv2d | nn.MaxPool2d | nn.Flatten | nn.Linear)
    ]
    with torch.no_grad():
        network.every(torch.zeros(1, 1, 48, 48))
    for hook in hooks:
        hook.remove()
    if isinstance(network, Pooling):
        channels = network.head.in_features
        pool = {
            "name": "pool",
            "kind": "global average pooling",
            "output": [channels],
            "parameters": 0,
            "multiply_adds": 0,
        }
        found.insert(-len(heads(network.spec)), pool)
    return found


def _noting(found: list[dict[str, Any]], name: str) -> Any:
    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        shape = list(output.shape[1:])
        total, _trainable = stored_counts(module)
        layer = {"name": name.removeprefix("features."), "kind": _kind(module)}
        places = [*shape[1:], shape[0]] if len(shape) == 3 else shape
        found.append(layer | {"output": places, "parameters": total, "multiply_adds": _multiply_adds(module, places)})

    return note


def _multiply_adds(module: nn.Module, output: list[int]) -> int:
    """Each number of a kernel is used once a place of the output; batch norm folds into it."""
    if not isinstance(module, ConvNorm | nn.Conv2d | nn.Linear):
        return 0
    places = output[0] * output[1] if len(output) == 3 else 1
    return places * module.weight.numel()


def _kind(module: nn.Module) -> str:
    if isinstance(module, ConvNorm):
        side = module.weight.shape[-1]
        what = "depthwise " if module.groups > 1 else ""
        return f"{what}{side}x{side} conv, stride {module.stride}, norm, ReLU6"
    kinds = {nn.Conv2d: "3x3 conv, ReLU", nn.MaxPool2d: "2x2 max pooling", nn.Flatten: "flatten", nn.Linear: "dense"}
    return kinds[type(module)]


def _phases(recipe: Recipe, network: Network, folded: int) -> list[dict[str, Any]]:
    phases = []
    for phase in recipe.phases:
        set_trainable(network, phase.train)
        _, trainable = stored_counts(network)
        whole = trainable + (folded if next(network.parameters()).requires_grad else 0)
        phases.append({"name": phase.name, "trainable": whole, "stored_trainable": trainable, "epochs": phase.epochs})
    return phases
