"""A bundle in the formats of other runtimes, each let out only where it still answers as the bundle does.

It needs data (calibration), evaluation (verification) and the extra ``train``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.environment import environment
from mien._utils.files import atomic, protect
from mien.data.faces import Faces, Usage
from mien.data.load import load_faces, source_files
from mien.data.synthetic import draw_faces
from mien.errors import ExportError, require
from mien.export.onnx_file import add_probabilities, annotate, onnx_model, serialized
from mien.export.quantization import SCHEME, quantized
from mien.models.bundle import Bundle
from mien.models.load import find_bundle, load_bundle
from mien.models.onnx.graph import OPSET, PROBABILITIES
from mien.models.onnx.session import Session
from mien.models.preprocessing import prepare

if TYPE_CHECKING:
    from mien.evaluation.evaluator import Evaluation

Writer = Callable[[Path, dict[str, str]], None]
"""Writes a model to a path, with these metadata besides its own."""

PARITY = 1e-4
"""How far a probability of an export in float may be from the bundle's."""
DROP = 0.005
"""How much accuracy on PublicTest an export in int8 may lose: half a point."""
FACES = 1
"""How many faces it may lose where that is more, as on sets of fewer than 200."""
CALIBRATION, PROBE = 512, 512
"""How many Training faces calibrate int8, and how many faces the parity of the others is measured on."""
ROUNDING = 1e-12
"""Room for the rounding of a difference of two fractions."""


class Target(StrEnum):
    """What a bundle can become."""

    ONNX = "onnx"
    """float32, opset 17, batch norms folded."""
    INT8 = "onnx-int8"
    """int8 weights and uint8 activations, calibrated on Training faces."""
    TORCHSCRIPT = "torchscript"
    """With preprocessing, calibration and softmax inside."""


SUFFIXES = {Target.ONNX: (".onnx",), Target.INT8: (".onnx",), Target.TORCHSCRIPT: (".pt", ".pth", ".torchscript")}


@dataclass(frozen=True)
class Export:
    """A file that passed its check.

    Attributes:
        path: the file.
        to: its format.
        bundle: what it was made from.
        size: bytes.
        sha256: of the file, hex.
        check: what was measured, and the bounds.
    """

    path: Path
    to: Target
    bundle: Bundle
    size: int
    sha256: str
    check: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        source = {"name": self.bundle.card.name, "sha256": self.bundle.sha256, "parameters": self.bundle.parameters}
        file = {"path": str(self.path), "to": str(self.to), "bytes": self.size, "sha256": self.sha256}
        return file | {"bundle": source, "check": self.check}


def export_model(
    model: Bundle | str | Path,
    out: str | Path,
    to: str = Target.ONNX,
    data: Faces | str | Path | None = None,
    *,
    parity: float | None = None,
    drop: float | None = None,
) -> Export:
    """Write a bundle for another runtime, unless what comes out answers differently.

    Args:
        model: a bundle, its file, a shipped model's name or a run folder.
        out: the file: ``.onnx``, or ``.pt`` for TorchScript.
        to: ``onnx``, ``onnx-int8`` or ``torchscript``.
        data: labelled faces with the splits Training and PublicTest, which int8 needs; the others compare on its
            PublicTest, or without data on drawn faces.
        parity: the largest difference of a probability that is let through in float; without it, :data:`PARITY`.
        drop: the largest loss of accuracy on PublicTest, as a fraction, that is let through in int8; without it,
            :data:`DROP`, or :data:`FACES` faces where that is more.

    Raises:
        ExportError: where the format is not known, ``out`` has another suffix, int8 has no data, or the check fails;
            then no file is left.
        MienError: where the model or the data cannot be read, or the model is itself an export.
    """
    path, target = Path(out), _target(to, Path(out))
    protect([path], [model.path if isinstance(model, Bundle) else find_bundle(model)])
    protect([path], [] if data is None or isinstance(data, Faces) else source_files(data))
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    bundle.state()
    faces = data if isinstance(data, Faces) or data is None else load_faces(data)
    write = _writer(bundle, target, faces)
    with atomic(path) as temporary:
        write(temporary, {})
        if target == Target.INT8 and faces is not None:
            check = _check_accuracy(bundle, temporary, faces, drop)
        else:
            check = _check_parity(bundle, temporary, target, faces, PARITY if parity is None else parity)
        if not check["passed"]:
            raise ExportError(f"no {target} of {bundle.card.name}: {_failure(check)}", path, "Nothing was written.")
        write(temporary, {"export": json.dumps(_notes(target, check))})
        written = temporary.read_bytes()
    return Export(path, target, bundle, len(written), hashlib.sha256(written).hexdigest(), check)


def _target(to: str, path: Path) -> Target:
    if to not in list(Target):
        raise ExportError(f"there is no format {to!r}", mend=f"Choose one of {', '.join(Target)}.")
    target = Target(to)
    if path.suffix.lower() not in SUFFIXES[target]:
        raise ExportError(f"{target} goes into a file that ends in {' or '.join(SUFFIXES[target])}", path)
    return target


def _writer(bundle: Bundle, target: Target, faces: Faces | None) -> Writer:
    """What writes the model to a path, with more metadata; all that takes long is done once, before."""
    if target == Target.TORCHSCRIPT:
        require("torch", "train")
        from mien.export.torchscript import save_script, traced

        module = traced(bundle)
        return lambda path, notes: save_script(bundle, module, path, notes)
    model = onnx_model(bundle)
    if target == Target.INT8:
        model = _int8(model, bundle, faces)
    add_probabilities(model, bundle.card)

    def write(path: Path, notes: dict[str, str]) -> None:
        annotate(model, notes)
        path.write_bytes(serialized(model))

    return write


def _int8(model: Any, bundle: Bundle, faces: Faces | None) -> Any:
    if faces is None:
        what = "int8 needs faces for calibration and evaluation"
        raise ExportError(what, mend="Name a data set with --data, or in MIEN_DATA.")
    training = faces.select(Usage.TRAINING)
    chosen = np.sort(np.random.default_rng(0).permutation(len(training))[:CALIBRATION])
    made = quantized(model, prepare(training.images[chosen], bundle.card.preprocessing))
    scheme = SCHEME | {"faces": len(chosen), "data": {"name": faces.name, "fingerprint": faces.fingerprint}}
    annotate(made, {"name": f"{bundle.card.name}-int8", "quantization": json.dumps(scheme)})
    return made


def _check_parity(bundle: Bundle, path: Path, target: Target, faces: Faces | None, bound: float) -> dict[str, Any]:
    """The largest difference of a probability between the file and its bundle."""
    part = draw_faces(PROBE // 4, seed=0) if faces is None else faces.select(Usage.PUBLIC_TEST)
    images = part.images[:PROBE]
    session = Session(bundle)
    expected = [session.output(images), *session.probabilities(images).values()]
    found: Sequence[NDArray[np.floating]]
    if target == Target.TORCHSCRIPT:
        from mien.export.torchscript import run_script

        found = run_script(path, images)
    else:
        session = Session(load_bundle(path))
        found = [session.run(PROBABILITIES, images), *session.probabilities(images).values()]
    apart = [float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True)]
    most = max(apart) if np.isfinite(apart).all() else float("inf")
    about = {"measure": "largest difference of a probability", "data": part.name, "faces": len(images)}
    return about | {"difference": most, "bound": bound, "passed": most <= bound}


def _check_accuracy(bundle: Bundle, path: Path, faces: Faces, drop: float | None) -> dict[str, Any]:
    """What the file and its bundle make of PublicTest, and what is lost between them."""
    require("sklearn", "train")
    from mien.evaluation import evaluate

    evaluated = {
        name: evaluate(model, faces, Usage.PUBLIC_TEST) for name, model in (("bundle", bundle), ("export", path))
    }
    figures: dict[str, Any] = {name: _figures(one) for name, one in evaluated.items()}
    bound = max(DROP, FACES / len(evaluated["bundle"].faces)) if drop is None else drop
    lost = evaluated["bundle"].accuracy - evaluated["export"].accuracy
    unlike = _lost(figures["bundle"]["agreement"], figures["export"]["agreement"])
    about = {"measure": "accuracy lost on PublicTest", "data": faces.name, "faces": len(evaluated["bundle"].faces)}
    change = {"lost": {"accuracy": lost, "agreement": unlike}, "bound": bound, "passed": lost <= bound + ROUNDING}
    return about | figures | change


def _figures(evaluated: Evaluation) -> dict[str, Any]:
    agreement, clean = evaluated.figures["ferplus"], evaluated.figures["clean"]
    found = {name: evaluated.figures[name] for name in ("accuracy", "macro_f1", "nll", "ece")}
    return found | {"clean": clean and clean["accuracy"], "agreement": agreement and agreement["agreement"]}


def _lost(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _failure(check: dict[str, Any]) -> str:
    if "difference" in check:
        return f"a probability is off by {check['difference']:.2g}, and {check['bound']:g} is the most that passes"
    lost, bound = 100 * check["lost"]["accuracy"], round(100 * check["bound"], 2)
    return f"it loses {lost:.2f} points of accuracy on PublicTest, and {bound:g} is the most that passes"


def _notes(target: Target, check: dict[str, Any]) -> dict[str, Any]:
    about = {"to": str(target), "check": check, "versions": environment()["versions"]}
    return about if target == Target.TORCHSCRIPT else about | {"opset": OPSET}
