"""Check a data set: copies, leaks, blanks and suspect labels; write the findings, and the set without them.

It needs a model's probabilities and plots, so it is no part of :mod:`mien.data`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic, protect
from mien.data.faces import USAGES, Faces, Usage
from mien.data.ferplus import conflicts_with_votes
from mien.data.quality.checks import Copies, Kind, Quality, check_faces, find_copies
from mien.data.quality.clean import layout_of, log_of, parse_drops, write_clean, write_findings
from mien.data.quality.label_noise import Suspect, by_model
from mien.emotions import LABELS
from mien.errors import DataError, require
from mien.models.bundle import Bundle
from mien.models.load import find_bundle, load_bundle
from mien.models.onnx.session import Session
from mien.models.spec import Head


def run_check(
    faces: Faces,
    *,
    model: str | Path | None = None,
    out: str | Path | None = None,
    clean: str | Path | None = None,
    drop: Sequence[str] = (),
) -> tuple[Quality, dict[str, Any]]:
    """Check a data set.

    Args:
        faces: the set, read with ``skip_bad`` so that bad rows are findings.
        model: a bundle, its file or a run folder, to find suspect labels with. It is applied to held-out faces: those
            of splits that it was not trained on, without identical or near duplicates in its training split.
        out: a folder for ``check.json``, ``findings.csv`` and an image grid of the worst of each kind.
        clean: where to write the set without what ``drop`` names (``.csv``, ``.parquet`` or a folder).
        drop: the kinds to leave out (:class:`mien.data.quality.clean.Drop`).

    Returns:
        What was found, and the figures ready for JSON, with ``seconds`` and, where written, ``files`` and ``clean``.

    Raises:
        MienError: where the model cannot be read, a kind is not known, or a place cannot be written. A model that does
            not fit the set is a note in the figures, and the rest is checked.
    """
    start = time.perf_counter()
    protect(check_outputs(out, clean), [model and find_bundle(model)])
    bundle = None if model is None else load_bundle(model)
    if drop and clean is None:
        raise DataError("kinds to leave out were named, but no place to write the rest", "--drop", "Add --clean OUT.")
    drops = parse_drops(drop, faces, bundle is not None) if clean is not None else []
    if clean is not None:
        layout_of(Path(clean))
    if out is not None:
        require("matplotlib", "train")
    copies = find_copies(faces.images)
    suspects, checked, why = _by_model(faces, copies, bundle)
    quality = check_faces(faces, suspects, copies)
    figures = quality.figures | {"model": checked, "seconds": round(time.perf_counter() - start, 2)}
    if why:
        figures["notes"] = [note for note in quality.figures["notes"] if "no model" not in note] + [why]
    if clean is not None:
        kept, log = write_clean(quality, drops, clean)
        figures["clean"] = {"path": str(clean), "rows": len(kept), "dropped": len(faces) - len(kept), "log": str(log)}
    if out is not None:
        figures["files"] = [str(path) for path in write_check(quality, figures, Path(out))]
    return quality, figures


def _by_model(
    faces: Faces, copies: Copies, bundle: Bundle | None
) -> tuple[list[Suspect] | None, dict[str, Any] | None, str | None]:
    """Suspects by the model, its figures, and why there are none."""
    if bundle is None:
        return None, None, None
    name = bundle.card.name
    if bundle.card.labels != faces.labels:
        return None, None, f"{name} knows other classes ({', '.join(bundle.card.labels)}), so it checks no labels"
    held_out = _held_out(faces, copies, bundle)
    if not held_out.any():
        return None, None, f"there is no face that {name} was not trained on, so it checks no labels"
    probabilities = Session(bundle).probabilities(faces.images[held_out])[Head.LABELS]
    found = by_model(faces, probabilities, held_out)
    figures = {"name": name, "sha256": bundle.sha256, "evaluated": int(held_out.sum()), "suspects": len(found)}
    return found, figures | _against_votes(faces, found), None


def _held_out(faces: Faces, copies: Copies, bundle: Bundle) -> NDArray[np.bool_]:
    """bool (N,): faces outside the split that the model was trained on, with no twin inside it."""
    recipe = bundle.card.provenance.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    split = data.get("train", Usage.TRAINING) if isinstance(data, dict) else Usage.TRAINING
    if split == Usage.TEST:
        trained = faces.usage != USAGES.index(Usage.TRAINING)
    else:
        trained = faces.usage == USAGES.index(Usage(split))
    return ~copies.seen_in(trained)


def _against_votes(faces: Faces, found: Sequence[Suspect]) -> dict[str, int]:
    """How many of the suspects the official FER+ majority conflicts_with_votes, of those that have one."""
    if faces.votes is None or faces.labels != LABELS:
        return {}
    return {"contradicted_by_votes": int(conflicts_with_votes(faces)[[one.face for one in found]].sum())}


def check_outputs(out: str | Path | None, clean: str | Path | None) -> list[Path]:
    """The files and folders that :func:`run_check` may write."""
    names = ("", "check.json", "findings.csv", *(f"{kind}.png" for kind in Kind))
    files = [] if out is None else [Path(out) / name for name in names]
    return files if clean is None else [*files, Path(clean), log_of(Path(clean))]


def write_check(quality: Quality, figures: dict[str, Any], out: Path) -> list[Path]:
    """Write ``check.json``, ``findings.csv`` and ``<kind>.png`` for each kind with faces to show; returns the files."""
    from mien.evaluation import plots
    from mien.evaluation.image_grid import image_grid

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"it cannot be written ({error.strerror or error})", out, "Choose another place.") from error
    files = check_outputs(out, None)[1:3]
    with atomic(files[0]) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_findings(quality, files[1])
    for kind in Kind:
        figure = image_grid(quality, kind)
        if figure is not None:
            plots.save(figure, out / f"{kind}.png")
            files.append(out / f"{kind}.png")
    return files
