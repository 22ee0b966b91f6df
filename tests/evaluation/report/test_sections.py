"""The figures of a report against plain counts, and the reasons why a part cannot be shown."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from conftest import TINY
from mien.data import Faces
from mien.emotions import FERPLUS
from mien.errors import DataError, RecipeError
from mien.evaluation import Evaluation
from mien.evaluation.report.sections import (
    ComparedModel,
    Missing,
    SuspectLabels,
    compare,
    evaluate_splits,
    label_counts,
    read_history,
    split_names,
    suspects_by_model,
    suspects_by_votes,
)
from mien.evaluation.reproduction import reproduce
from mien.models.bundle import Bundle, Card, save_bundle
from mien.models.load import load_bundle
from mien.models.networks.build import build
from mien.models.onnx.graph import build_graph
from mien.models.spec import CnnSpec
from mien.training import Recipe, load_recipe

if TYPE_CHECKING:
    from mien.training import Run

COLUMNS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]


def votes_for(*rows: dict[str, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """FER+ votes, uint8 (N, 10), from names and counts."""
    votes = np.zeros((len(rows), len(FERPLUS)), np.uint8)
    for row, cast in enumerate(rows):
        for name, count in cast.items():
            votes[row, FERPLUS.index(name)] = count
    return votes


def untrained(labels: tuple[str, ...], name: str = "other") -> Bundle:
    """A plain CNN with its first weights, of any classes."""
    spec = CnnSpec(classes=len(labels))
    weights = {key: t.contiguous().numpy() for key, t in build(spec).state_dict().items()}
    return Bundle(Card(name=name, network=spec, labels=labels), weights, build_graph(spec, weights))


@pytest.fixture(scope="module")
def bundle(tiny_run: Run) -> Bundle:
    return load_bundle(tiny_run.out)


def test_suspects_by_votes_count_what_a_loop_counts(bundle: Bundle, drawn: Faces) -> None:
    rng = np.random.default_rng(0)
    faces = replace(drawn, votes=rng.multinomial(10, rng.dirichlet(np.full(10, 0.15), 150)).astype(np.uint8))
    evaluation = evaluate_splits(bundle, faces, ["Training"]).shown["Training"]
    found = suspects_by_votes(evaluation)
    assert isinstance(found, SuspectLabels)
    part, predicted = faces.select("Training"), evaluation.predicted
    counts = dict.fromkeys(found.figures, 0)
    for label, answer, votes in zip(part.emotion, predicted, part.votes if part.votes is not None else [], strict=True):
        ours = [int(votes[FERPLUS.index(name)]) for name in COLUMNS]
        clear = 2 * max(ours) > int(votes.sum())
        seen = ours.index(max(ours))
        of_eight = [int(votes[FERPLUS.index(name)]) for name in [*COLUMNS, "contempt"]]
        suspect = 2 * max(of_eight) > int(votes.sum()) and ours[label] <= 1
        counts["suspects"] += suspect
        counts["clear"] += clear
        counts["errors"] += answer != label
        counts["errors_suspect"] += suspect and answer != label
        if clear and answer != label:
            counts["clear_errors"] += 1
            key = "model" if seen == answer else "label" if seen == label else None
            counts[f"errors_seen_as_{key}" if key else "errors_seen_otherwise"] += 1
    assert counts["suspects"] > 5
    assert counts["errors_seen_as_model"] > 0
    for key, value in counts.items():
        if not key.startswith(("accuracy", "label_", "model_")):
            assert found.figures[key] == value, key
    hits = evaluation.hits
    suspects = np.isin(np.arange(len(part)), found.faces)
    assert found.figures["accuracy_suspect"] == pytest.approx(hits[suspects].mean())
    assert found.figures["accuracy_rest"] == pytest.approx(hits[~suspects].mean())


def test_a_model_finds_flipped_labels_but_not_in_its_training_split(bundle: Bundle, drawn: Faces) -> None:
    part = np.flatnonzero(drawn.usage == 1)
    flipped = part[:3]
    emotion = drawn.emotion.copy()
    emotion[flipped] = (emotion[flipped] + 3) % 7
    model = evaluate_splits(bundle, replace(drawn, emotion=emotion), ["PublicTest", "Training"])
    found = suspects_by_model(model.shown["PublicTest"])
    assert isinstance(found, SuspectLabels)
    assert found.figures["suspects"] == len(found.faces)
    assert found.figures["contradicted"] is None
    assert set(found.faces.tolist()) <= set(np.flatnonzero(~model.shown["PublicTest"].hits).tolist())
    learned = suspects_by_model(model.shown["Training"])
    assert isinstance(learned, Missing)
    assert "was trained on Training" in learned.why


def test_every_split_has_figures_or_a_reason(bundle: Bundle, drawn: Faces) -> None:
    faces = drawn.take(np.flatnonzero(drawn.usage != 2))
    model = evaluate_splits(bundle, faces, split_names(faces, None))
    assert list(model.splits) == ["PublicTest", "PrivateTest"]
    public, private = model.splits.values()
    assert isinstance(public, Evaluation)
    assert isinstance(private, Missing)
    assert "no faces in the split PrivateTest" in private.why
    low, high = public.interval or (0, 0)
    assert 0 <= low <= public.hits.mean() <= high <= 1
    assert public.intervals()["interval"] == (low, high)


def test_which_splits_a_report_has(drawn: Faces) -> None:
    assert split_names(drawn, None) == ["PublicTest", "PrivateTest"]
    assert split_names(drawn, "Training") == ["PublicTest", "PrivateTest", "Training"]
    folder = replace(drawn, usage=np.where(drawn.usage == 0, 0, 3).astype(np.uint8))
    assert split_names(folder, None) == ["PublicTest", "PrivateTest", "test"]
    with pytest.raises(DataError, match="no split 'Private'"):
        split_names(drawn, "Private")


def test_without_any_split_to_show_it_is_an_error(bundle: Bundle, drawn: Faces) -> None:
    with pytest.raises(DataError, match=r"no split can be shown.*no faces in the split PrivateTest"):
        evaluate_splits(bundle, drawn.select("Training"), ["PublicTest", "PrivateTest"])
    with pytest.raises(DataError, match=r"no split can be shown.*not the model's \(a, b\)"):
        evaluate_splits(untrained(("a", "b")), drawn, ["PublicTest", "PrivateTest"])
    unlabelled = replace(drawn, emotion=np.full(150, -1))
    with pytest.raises(DataError, match="15 faces have no label"):
        evaluate_splits(bundle, unlabelled, ["PublicTest"])


def test_models_are_compared_face_by_face(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    other = save_bundle(untrained(drawn.labels), tmp_path / "other.mien")
    three = save_bundle(untrained(("a", "b", "c")), tmp_path / "three.mien")
    model = evaluate_splits(bundle, drawn, ["PublicTest", "Training"])
    paths = (other.path or "", three.path or "", tmp_path / "none.mien")
    found, classes, missing = (compare(model, path, drawn) for path in paths)
    assert isinstance(found, ComparedModel)
    for split in ("PublicTest", "Training"):
        ours, theirs = model.shown[split].hits.tolist(), found.model.shown[split].hits.tolist()
        paired = found.differences[split].mcnemar
        pairs = list(zip(ours, theirs, strict=True))
        assert (paired.both, paired.first) == (pairs.count((True, True)), pairs.count((True, False)))
        assert (paired.second, paired.neither) == (pairs.count((False, True)), pairs.count((False, False)))
        difference, ends = found.differences[split].difference, found.differences[split].interval
        assert difference == pytest.approx((sum(theirs) - sum(ours)) / len(ours))
        assert ends is not None
        assert ends[0] <= difference <= ends[1]
    assert isinstance(classes, Missing)
    assert "not the model's (a, b, c)" in classes.why
    assert isinstance(missing, Missing)
    assert "no such model" in missing.why


def test_a_history_is_shown_only_where_it_is_the_bundles(tiny_run: Run, bundle: Bundle, tmp_path: Path) -> None:
    rows = read_history(bundle)
    assert isinstance(rows, list)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["val_loss"] == pytest.approx(tiny_run.rows[0]["val_loss"])
    alone = save_bundle(bundle, tmp_path / "run" / "best.mien")
    for text, why in (
        (None, "no history.csv lies beside"),
        ("phase,epoch\nall,1\n", "unreadable"),
        ((tiny_run.out / "history.csv").read_text().rsplit("\n", 2)[0], "another run: 3 epochs, the bundle's had 4"),
    ):
        if text is not None:
            (tmp_path / "run" / "history.csv").write_text(text)
        found = read_history(alone)
        assert isinstance(found, Missing)
        assert why in found.why


def test_labels_of_a_split_that_is_not_there(drawn: Faces) -> None:
    found = label_counts(drawn.select("Training"), ["Training", "PublicTest"])
    assert isinstance(found, Missing)
    assert label_counts(drawn, ["PublicTest"]) == {"PublicTest": drawn.select("PublicTest").label_counts()}


def by(recipe: Recipe, bundle: Bundle, **more: object) -> Bundle:
    """The bundle as though it were trained by another recipe."""
    provenance = {**bundle.card.provenance, "recipe": recipe.model_dump(mode="json"), **more}
    return replace(bundle, card=bundle.card.model_copy(update={"provenance": provenance}))


def test_the_command_of_a_shipped_recipe(bundle: Bundle) -> None:
    assert reproduce(by(load_recipe("article"), bundle)).command == "mien train article --data D --out RUN --seed 1"


def test_the_command_names_what_was_changed(bundle: Bundle) -> None:
    changes = ["phases.1.optimizer.lr=0.0003", "network.stem_stride=1", "phases.0.early_stopping=null"]
    recipe = load_recipe("article", changes)
    command = reproduce(by(recipe, bundle, seed=5)).command
    assert command.startswith("mien train article --set ")
    assert command.endswith("--seed 5")
    assert sorted(settings(command)) == sorted(changes)
    assert load_recipe("article", settings(command)) == recipe
    longer = load_recipe("toy").model_copy(update={"phases": recipe.phases})
    assert load_recipe("toy", settings(reproduce(by(longer, bundle)).command)) == longer


def settings(command: str) -> list[str]:
    """What stands behind each --set of a command."""
    return [after for word, after in pairwise(shlex.split(command)) if word == "--set"]


def test_a_recipe_of_ones_own_comes_as_a_file(bundle: Bundle, tmp_path: Path) -> None:
    found = reproduce(bundle)
    assert found.command == "mien train recipe.yaml --data D --out RUN --seed 1"
    (tmp_path / "recipe.yaml").write_text(found.recipe)
    assert load_recipe(tmp_path / "recipe.yaml") == Recipe.model_validate(TINY)


def test_a_bundle_without_provenance_says_so(bundle: Bundle) -> None:
    bare = replace(bundle, card=bundle.card.model_copy(update={"provenance": {}}))
    with pytest.raises(RecipeError, match="does not say by which recipe"):
        reproduce(bare)
    odd = {**bundle.card.provenance, "recipe": {"name": "odd"}}
    with pytest.raises(RecipeError, match="does not fit this version"):
        reproduce(replace(bundle, card=bundle.card.model_copy(update={"provenance": odd})))
