"""The report: one HTML page that says where a model is wrong and why, and asks for nothing from the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from mien.evaluation.gradcam import Attribution, grad_cam
from mien.evaluation.report import faces as report_faces
from mien.evaluation.report import plots as report_plots
from mien.evaluation.report.sections import (
    Doubt,
    Evaluated,
    Missing,
    Model,
    OwnDoubt,
    Rival,
    compare,
    doubt,
    evaluate_split,
    label_counts,
    own_doubt,
    read_history,
    roles,
    split_names,
)
from mien.evaluation.reproduction import Reproduction, reproduce
from mien.evaluation.statistics import coverage, with_temperature
from mien.models.bundle import Bundle
from mien.models.calibration import fit_temperature
from mien.models.load import load_bundle
from mien.models.spec import Head

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3)
"""The shares of answered faces that the page lists."""


@dataclass(frozen=True)
class Report:
    """All that a report says; :meth:`write` makes the page.

    Attributes:
        model: the reported model on all splits.
        split: the split whose faces are shown.
        faces: the whole data set.
        rivals: other bundles beside it.
        notes: what was asked for and cannot be shown, and why.
    """

    model: Model
    split: str
    faces: Faces
    rivals: list[Rival | Missing]
    notes: list[str]

    @property
    def judged(self) -> Evaluated:
        """The model on the split whose faces are shown."""
        return self.model.shown[self.split]

    @cached_property
    def doubt(self) -> Doubt | Missing:
        """Labels in doubt and what people saw."""
        return doubt(self.judged)

    @cached_property
    def own_doubt(self) -> OwnDoubt | Missing:
        """Labels that the model doubts."""
        return own_doubt(self.judged)

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "model": self.judged.evaluation.to_dict()["model"],
            "data": self.judged.evaluation.data,
            "shown": self.split,
            "splits": {name: _or_why(one) for name, one in self.model.splits.items()},
            "labels_in_doubt": _figures_or_why(self.doubt),
            "labels_doubted_by_the_model": _figures_or_why(self.own_doubt),
            "compared": [_rival_dict(rival) for rival in self.rivals],
            "notes": self.notes,
        }

    def write(self, out: str | Path) -> Path:
        """Write the page; equal models and data give equal bytes."""
        protect([out], [self.model.bundle.path])
        page = _environment().get_template("report.html").render(self.context())
        with atomic(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
        return Path(out)

    def context(self) -> dict[str, Any]:
        """What the template needs."""
        found, bundle = self.judged.evaluation, self.model.bundle
        gallery, lists = self._gallery()
        attribution = gallery.attribution
        return {
            "model": self.model,
            "bundle": bundle,
            "card": bundle.card,
            "version": __version__,
            "split": self.split,
            "judged": self.judged,
            "figures": found.figures,
            "data": found.data,
            "labels": found.faces.labels,
            "roles": {split: role for role, split in roles(bundle).items()},
            "notes": self.notes,
            "history": _history_plots(bundle),
            "weights": _class_weights(bundle),
            "distributions": self._distributions(),
            "certainty": self._certainty(),
            "shown_faces": len(gallery.faces),
            "cam_note": attribution if isinstance(attribution, str) else attribution.layer.note,
            "doubt": self.doubt,
            "own_doubt": self.own_doubt,
            "rivals": [rival for rival in self.rivals if isinstance(rival, Rival)],
            "missing_rivals": [rival for rival in self.rivals if isinstance(rival, Missing)],
            "again": _again(bundle),
            "provenance": {"data": None, "versions": {}, "hardware": {}} | bundle.card.provenance,
            "sheet": report_faces.data_uri(report_faces.sheet(gallery.faces.images), "image/webp"),
            "page_data": gallery.to_dict() | lists,
        }

    def _gallery(self) -> tuple[report_faces.Gallery, dict[str, Any]]:
        """The page's faces, and which of them it shows at once."""
        found = self.judged.evaluation
        by_votes, by_model = (
            np.zeros(0, np.int64) if isinstance(one, Missing) else one.suspect for one in (self.doubt, self.own_doubt)
        )
        lists = report_faces.lists(found.faces.emotion, found.probabilities, by_votes, by_model)
        chosen = np.union1d(report_faces.choose(found.faces.emotion, found.probabilities), lists.faces)
        faces, probabilities = found.faces.take(chosen), found.probabilities[chosen]
        attribution: Attribution | str
        try:
            attribution = grad_cam(self.model.bundle, faces.images, probabilities.argmax(1), Head.LABELS)
        except ModelError as error:
            attribution = str(error)
        return report_faces.Gallery(faces, probabilities, attribution), lists.within(chosen)

    def _distributions(self) -> list[Markup | Missing]:
        part = roles(self.model.bundle)
        names = (part.get("train", "Training"), part.get("validation", "PublicTest"))
        counts = label_counts(self.faces, names)
        first: Markup | Missing
        if isinstance(counts, Missing):
            first = counts
        else:
            pair = (f"train: {names[0]}", f"validation: {names[1]}")
            first = Markup(report_plots.distributions(counts[names[0]], counts[names[1]], pair, "labels in training"))
        found = self.judged.evaluation
        said = dict(
            zip(found.faces.labels, np.bincount(found.predicted, minlength=len(found.faces.labels)), strict=True)
        )
        true = found.faces.label_counts()
        second = report_plots.distributions(true, said, ("true", "predicted"), "labels true and predicted")
        return [first, Markup(second)]

    def _certainty(self) -> dict[str, Any]:
        """Calibration and abstention on the shown split."""
        hits, probabilities = self.judged.hits, self.judged.evaluation.probabilities
        share, right = coverage(hits, probabilities.max(1))
        ends = [int(np.searchsorted(share, wanted - 1e-9)) for wanted in COVERAGES]
        curves, note = self._temperatures()
        return {
            "calibration": Markup(report_plots.calibration({name: (hits, p.max(1)) for name, p in curves.items()})),
            "note": note,
            "histogram": Markup(report_plots.confidences(hits, probabilities.max(1))),
            "coverage": Markup(report_plots.abstention(hits, probabilities.max(1))),
            "coverages": [(float(share[end]), float(right[end])) for end in ends],
        }

    def _temperatures(self) -> tuple[dict[str, NDArray[np.float64]], str]:
        """The answers before and after a temperature, and which temperature that is."""
        after = self.judged.evaluation.probabilities
        temperature = self.model.bundle.card.calibration.of(Head.LABELS)
        if temperature != 1:
            note = f"The bundle divides its logits by the temperature {temperature:.3f}."
            return {"before": with_temperature(after, 1 / temperature), "after": after}, note
        other = next((name for name in self.model.shown if name != self.split), None)
        if other is None:
            return {"as it is": after}, "The bundle has no temperature, and there is no other split to fit one on."
        fitted = _fit(self.model.shown[other])
        note = f"The bundle has no temperature. Fitted on {other} for this plot only, it would be {fitted:.3f}."
        return {"as it is": after, f"with a temperature of {fitted:.2f}": with_temperature(after, fitted)}, note


def make_report(
    model: Bundle | str | Path,
    data: Faces | str | Path,
    split: str | None = None,
    others: Sequence[str | Path] = (),
) -> Report:
    """Judge a model for a report.

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
    judged = evaluate_split(bundle, faces, split_names(faces, split))
    notes = [f"{name} cannot be shown: {one.why}" for name, one in judged.splits.items() if isinstance(one, Missing)]
    shown = split if split in judged.shown else next(iter(judged.shown))
    if split is not None and shown != split:
        notes.append(f"The faces below are those of {shown}.")
    rivals = compare(judged, others, faces)
    notes += [f"A model cannot be compared: {rival.why}" for rival in rivals if isinstance(rival, Missing)]
    return Report(judged, str(shown), faces, rivals, notes)


def _fit(judged: Evaluated) -> float:
    probabilities = judged.evaluation.probabilities
    targets = np.eye(probabilities.shape[1], dtype=np.float32)[judged.evaluation.faces.emotion]
    return fit_temperature(np.log(np.maximum(probabilities, 1e-30)).astype(np.float32), targets)


def _history_plots(bundle: Bundle) -> list[Markup] | Missing:
    rows = read_history(bundle)
    if isinstance(rows, Missing):
        return rows
    return [Markup(report_plots.history(rows, key)) for key in ("loss", "accuracy")]


def _class_weights(bundle: Bundle) -> str:
    """The recipe's class weights, by which its training loss is not like its validation loss; empty where none."""
    kind = str(bundle.card.provenance.get("recipe", {}).get("class_weights", "none"))
    return "" if kind == "none" else kind


def _again(bundle: Bundle) -> Reproduction | Missing:
    try:
        return reproduce(bundle)
    except RecipeError as error:
        return Missing(str(error))


def _or_why(one: Evaluated | Missing) -> dict[str, Any]:
    return {"why": one.why} if isinstance(one, Missing) else one.to_dict()


def _figures_or_why(one: Doubt | OwnDoubt | Missing) -> dict[str, Any]:
    return {"why": one.why} if isinstance(one, Missing) else one.figures


def _rival_dict(rival: Rival | Missing) -> dict[str, Any]:
    if isinstance(rival, Missing):
        return {"why": rival.why}
    return {
        "model": next(iter(rival.model.shown.values())).evaluation.to_dict()["model"],
        "splits": {name: _or_why(one) for name, one in rival.model.splits.items()},
        "mcnemar": {name: asdict(paired) for name, paired in rival.paired.items()},
        "difference": {name: {"accuracy": d, "interval": ends} for name, (d, ends) in rival.difference.items()},
    }


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
