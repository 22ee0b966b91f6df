"""The report: one self-contained HTML file with a model's metrics, errors, calibration and provenance."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mien import __version__
from mien._utils.files import atomic, protect
from mien.data.faces import Faces
from mien.data.load import load_faces
from mien.errors import ModelError, RecipeError
from mien.evaluation.evaluator import Evaluation
from mien.evaluation.gradcam import Attribution, grad_cam
from mien.evaluation.report import plots
from mien.evaluation.report.faces import Gallery, choose, lists, sprite_sheet
from mien.evaluation.report.sections import (
    ComparedModel,
    EvaluatedModel,
    Missing,
    SuspectLabels,
    compare,
    evaluate_splits,
    label_counts,
    read_history,
    roles,
    split_names,
    suspects_by_model,
    suspects_by_votes,
)
from mien.evaluation.reproduction import Reproduction, reproduce
from mien.evaluation.statistics import coverage, with_temperature
from mien.models.bundle import Bundle
from mien.models.calibration import fit_temperature
from mien.models.load import load_bundle

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3)
"""The coverages that the abstention table lists."""


@dataclass(frozen=True)
class Report:
    """The figures of a report; :meth:`write` makes the file.

    Attributes:
        model: the reported model on all splits.
        split: the split whose faces are shown.
        faces: the whole data set.
        compared: other bundles beside it.
        notes: what was requested and cannot be shown, and why.
    """

    model: EvaluatedModel
    split: str
    faces: Faces
    compared: list[ComparedModel | Missing]
    notes: list[str]

    @property
    def evaluation(self) -> Evaluation:
        """The model on the split whose faces are shown."""
        return self.model.shown[self.split]

    @cached_property
    def suspects(self) -> dict[str, SuspectLabels | Missing]:
        """Suspect labels ``by_votes`` and ``by_model``."""
        return {"by_votes": suspects_by_votes(self.evaluation), "by_model": suspects_by_model(self.evaluation)}

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "model": self.evaluation.to_dict()["model"],
            "data": self.evaluation.data,
            "shown": self.split,
            "splits": self.model.to_dict(),
            "suspect_labels": {name: found.to_dict() for name, found in self.suspects.items()},
            "compared": [other.to_dict() for other in self.compared],
            "notes": self.notes,
        }

    def write(self, out: str | Path) -> Path:
        """Write the file; equal models and data give equal bytes."""
        protect([out], [self.model.bundle.path])
        page = _environment().get_template("report.html").render(self.context())
        with atomic(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
        return Path(out)

    def context(self) -> dict[str, Any]:
        """What the template needs."""
        found, bundle = self.evaluation, self.model.bundle
        gallery, face_lists = self._gallery()
        attribution, provenance = gallery.attribution, bundle.card.provenance
        weights = str(provenance.get("recipe", {}).get("class_weights", "none"))
        return {
            "model": self.model,
            "bundle": bundle,
            "card": bundle.card,
            "version": __version__,
            "split": self.split,
            "evaluation": found,
            "figures": found.figures,
            "data": found.data,
            "labels": found.faces.labels,
            "n_errors": int((~found.hits).sum()),
            "roles": {split: role for role, split in roles(bundle).items()},
            "notes": self.notes,
            "history": _history_plots(bundle),
            "weights": "" if weights == "none" else weights,
            "distributions": self._distributions(),
            "calibration": self._calibration(),
            "shown_faces": len(gallery.faces),
            "cam_note": attribution if isinstance(attribution, str) else attribution.layer.note,
            "suspects": self.suspects,
            "compared": [other for other in self.compared if isinstance(other, ComparedModel)],
            "not_compared": [other for other in self.compared if isinstance(other, Missing)],
            "reproduction": _reproduction(bundle),
            "provenance": {"data": None, "versions": {}, "hardware": {}} | provenance,
            "sprite": f"data:image/webp;base64,{base64.b64encode(sprite_sheet(gallery.faces.images)).decode()}",
            "page_data": gallery.to_dict() | face_lists,
        }

    def _gallery(self) -> tuple[Gallery, dict[str, Any]]:
        """The file's faces, and which of them each section lists."""
        found = self.evaluation
        suspects = {
            name: np.zeros(0, np.int64) if isinstance(one, Missing) else one.faces
            for name, one in self.suspects.items()
        }
        face_lists = lists(found.faces.emotion, found.probabilities, suspects)
        chosen = np.union1d(choose(found.faces.emotion, found.probabilities), face_lists.all)
        faces, probabilities = found.faces.take(chosen), found.probabilities[chosen]
        attribution: Attribution | str
        try:
            attribution = grad_cam(self.model.bundle, faces.images, probabilities.argmax(1))
        except ModelError as error:
            attribution = str(error)
        return Gallery(faces, probabilities, attribution), face_lists.within(chosen)

    def _distributions(self) -> list[Markup | Missing]:
        """Class distributions of the training and the validation split, and of labels and predictions."""
        role = roles(self.model.bundle)
        names = (role.get("train", "Training"), role.get("validation", "PublicTest"))
        counts = label_counts(self.faces, names)
        first: Markup | Missing
        if isinstance(counts, Missing):
            first = counts
        else:
            pair = {f"train: {names[0]}": counts[names[0]], f"validation: {names[1]}": counts[names[1]]}
            first = plots.distributions(pair, "class distribution in training")
        found = self.evaluation
        columns = np.array(found.figures["confusion"]).sum(0).tolist()
        predicted = dict(zip(found.faces.labels, columns, strict=True))
        pair = {"true": found.faces.label_counts(), "predicted": predicted}
        return [first, plots.distributions(pair, "class distribution of labels and predictions")]

    def _calibration(self) -> dict[str, Any]:
        """Calibration and abstention on the shown split."""
        hits, confidence = self.evaluation.hits, self.evaluation.probabilities.max(1)
        share, accuracy = coverage(hits, confidence)
        ends = [int(np.searchsorted(share, one - 1e-9)) for one in COVERAGES]
        curves, note = self._temperatures()
        return {
            "curve": plots.calibration({name: (hits, p.max(1)) for name, p in curves.items()}),
            "note": note,
            "histogram": plots.confidences(hits, confidence),
            "coverage": plots.abstention(hits, confidence),
            "coverages": [(float(share[end]), float(accuracy[end])) for end in ends],
        }

    def _temperatures(self) -> tuple[dict[str, NDArray[np.float64]], str]:
        """The probabilities before and after temperature scaling, and a note on the temperature."""
        after = self.evaluation.probabilities
        card = self.model.bundle.card
        temperature = card.calibration.last_temperature(card.heads)
        if temperature != 1:
            note = f"The bundle divides its logits by the temperature {temperature:.3f}."
            return {"before": with_temperature(after, 1 / temperature), "after": after}, note
        other = next((name for name in self.model.shown if name != self.split), None)
        if other is None:
            return {
                "no temperature": after
            }, "The bundle has no temperature, and there is no other split to fit one on."
        held_out = self.model.shown[other]
        targets = np.eye(after.shape[1], dtype=np.float32)[held_out.faces.emotion]
        fitted = fit_temperature(np.log(np.maximum(held_out.probabilities, 1e-30)).astype(np.float32), targets)
        note = f"The bundle has no temperature. Fitted on {other} for this plot only, it would be {fitted:.3f}."
        return {"no temperature": after, f"temperature {fitted:.2f}": with_temperature(after, fitted)}, note


def make_report(
    model: Bundle | str | Path,
    data: Faces | str | Path,
    split: str | None = None,
    others: Sequence[str | Path] = (),
) -> Report:
    """Evaluate a model for a report.

    Args:
        model: a bundle, its file, a run folder, or a shipped model's name.
        data: faces, or any data set that :func:`mien.load_faces` reads.
        split: the split whose faces are shown; without it, PublicTest. Where it cannot be shown, another is.
        others: bundles to compare with.

    Raises:
        MienError: where the model or the data cannot be read, or no split can be shown.
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    faces = data if isinstance(data, Faces) else load_faces(data)
    found = evaluate_splits(bundle, faces, split_names(faces, split))
    notes = [f"{name} cannot be shown: {one.why}" for name, one in found.splits.items() if isinstance(one, Missing)]
    shown = split if split in found.shown else next(iter(found.shown))
    if split is not None and shown != split:
        notes.append(f"The faces below are those of {shown}.")
    compared = [compare(found, other, faces) for other in others]
    notes += [f"A model cannot be compared: {other.why}" for other in compared if isinstance(other, Missing)]
    return Report(found, str(shown), faces, compared, notes)


def _history_plots(bundle: Bundle) -> list[Markup] | Missing:
    rows = read_history(bundle)
    return rows if isinstance(rows, Missing) else [plots.history(rows, key) for key in ("loss", "accuracy")]


def _reproduction(bundle: Bundle) -> Reproduction | Missing:
    try:
        return reproduce(bundle)
    except RecipeError as error:
        return Missing(str(error))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.evaluation.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: "–" if value is None else f"{value:.{digits}%}"
    environment.filters["points"] = lambda value: f"{100 * value:+.2f}".replace("-", "−")
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    environment.globals["raw"] = lambda name: Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]
    return environment
