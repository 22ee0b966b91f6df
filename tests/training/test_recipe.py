"""Recipes: the shipped ones say what the article says; changes land where they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Ran, write_recipe
from mien.errors import RecipeError
from mien.training import load_recipe, shipped_recipes

ARTICLE = ["article", "article-iterative"]
CNNS = ["cnn-plain", "cnn-callbacks", "cnn-augment"]
DARK = {"brightness": 0, "contrast": 0, "erase": 0}
AUGMENTATION = {"rotation": 0.15, "shift": 0.15, "shear": 0.15, "zoom": 0.15, "flip": True, **DARK}
STOPPING = {"min_delta": 0.00008, "patience": 11, "restore_best": True}
PLATEAU = {"min_delta": 0.0001, "factor": 0.25, "patience": 4, "floor": 1e-7}
ROLES = {"train": "Training", "validation": "PrivateTest", "test": "PublicTest"}


def settings(name: str) -> dict[str, Any]:
    return load_recipe(name).model_dump(mode="json")


def test_the_shipped_recipes() -> None:
    assert {*ARTICLE, *CNNS, "toy"} <= set(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_survives_its_own_yaml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    path = tmp_path / "written.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("name", ARTICLE)
def test_the_articles_network_and_data(name: str) -> None:
    found = settings(name)
    assert found["network"] == {
        "name": "mobilenet",
        "cut": 12,
        "stem_stride": 2,
        "strides": {},
        "channels": 1,
        "classes": 7,
        "votes": False,
    }
    assert (found["imagenet"], found["batch_norm"], found["class_weights"]) == (True, "frozen", "share")
    assert found["preprocessing"] == {"side": 48, "scaling": "unit"}
    assert found["augment"] == AUGMENTATION


@pytest.mark.parametrize("name", [*ARTICLE, *CNNS])
def test_the_articles_batches_and_roles(name: str) -> None:
    found = settings(name)
    assert found["batch_size"] == 64
    assert found["data"] == ROLES


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("article", [("head", 0.01, 5), ("all", 0.0001, 100)]),
        ("article-iterative", [("head", 0.01, 5), (7, 0.001, 40), ("all", 0.0001, 100)]),
    ],
)
def test_the_articles_phases(name: str, phases: list[tuple[str | int, float, int]]) -> None:
    found = settings(name)["phases"]
    assert [(phase["train"], phase["optimizer"]["lr"], phase["epochs"]) for phase in found] == phases
    for phase in found:
        assert (phase["optimizer"]["name"], phase["optimizer"]["epsilon"]) == ("adam", 1e-7)
        assert (phase["early_stopping"], phase["plateau"]) == (STOPPING, PLATEAU)


@pytest.mark.parametrize(
    ("name", "epochs", "callbacks", "augmented"),
    [("cnn-plain", 12, False, False), ("cnn-callbacks", 100, True, False), ("cnn-augment", 100, True, True)],
)
def test_the_articles_cnns(name: str, epochs: int, callbacks: bool, augmented: bool) -> None:
    found = settings(name)
    assert found["network"] == {"name": "cnn", "classes": 7}
    assert (found["imagenet"], found["class_weights"]) == (False, "none")
    (phase,) = found["phases"]
    assert (phase["train"], phase["epochs"]) == ("all", epochs)
    assert (phase["early_stopping"], phase["plateau"]) == ((STOPPING, PLATEAU) if callbacks else (None, None))
    assert (found["augment"] == AUGMENTATION) is augmented
    assert augmented or not any(found["augment"].values())


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("batch_size=32", ["batch_size"], 32),
        ("phases.1.optimizer.lr=0.5", ["phases", 1, "optimizer", "lr"], 0.5),
        ("phases.0.epochs=1", ["phases", 0, "epochs"], 1),
        ("augment.flip=false", ["augment", "flip"], False),
        (
            "augment={zoom: 0.3}",
            ["augment"],
            {"rotation": 0, "shift": 0, "shear": 0, "zoom": 0.3, "flip": False, **DARK},
        ),
        ("phases.0.early_stopping=null", ["phases", 0, "early_stopping"], None),
        ("summary=a = b", ["summary"], "a = b"),
    ],
)
def test_a_change_lands_in_its_place_and_nowhere_else(change: str, path: list[str | int], value: object) -> None:
    changed, original = (load_recipe("article", changes).model_dump(mode="json") for changes in ([change], []))
    places: list[Any] = [changed, original]
    for step in path[:-1]:
        places = [place[step] for place in places]
    assert places[0][path[-1]] == value
    assert places[1][path[-1]] != value
    places[0][path[-1]] = places[1][path[-1]]
    assert changed == original


def test_a_change_makes_the_mappings_that_are_missing() -> None:
    assert load_recipe("cnn-plain", ["augment.shift=0.1"]).augment.shift == 0.1


def test_the_later_change_wins() -> None:
    assert load_recipe("article", ["batch_size=1", "batch_size=2"]).batch_size == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("batch_size", "is not key=value"),
        ("=3", "is not key=value"),
        ("phases..epochs=3", "is not key=value"),
        ("phases.7.epochs=3", "leads nowhere"),
        ("phases.first.epochs=3", "leads nowhere"),
        ("name.first=3", "leads nowhere"),
        ("batch_size.x.y=3", "leads nowhere"),
        ("name=[1", "leads nowhere"),
        ("batch=3", "batch: Extra inputs"),
        ("batch_size=0", "batch_size"),
        ("batch_size=many", "batch_size"),
        ("phases=[]", "phases"),
        ("phases.0.optimizer.lr=-1", "phases.0.optimizer.lr"),
        ("phases.0.train=body", "phases.0.train"),
        ("phases.1.name=head", "two phases have the same name"),
        ("network={name: cnn}", "imagenet weights are not for the network cnn"),
        ("network.cut=14", "cut"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_in_one_line(change: str, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("article", [change])
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"name: [", "not readable as YAML"),
        (b"- 1", "a mapping|mapping of settings"),
        (b"", "mapping of settings"),
        (b"name: \xff\xfe", "not readable as YAML"),
        (b"name: tiny", "summary: Field required"),
    ],
)
def test_files_that_are_no_recipes_are_refused_in_one_line(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    with pytest.raises(RecipeError, match=what) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_that_are_not_there_name_those_that_are(tmp_path: Path) -> None:
    for name in ("nonsense", tmp_path / "gone.yaml", "../article"):
        with pytest.raises(RecipeError, match="article-iterative"):
            load_recipe(name)


def test_the_command_refuses_in_one_line_before_it_reads_data(mien: Callable[..., Ran], tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml")
    ran = mien("train", recipe, "--data", tmp_path / "none.csv", "--out", tmp_path / "run", "--set", "epoch=1")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"error: {recipe}: epoch: Extra inputs")
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_fills_in_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml"))
    assert recipe.name == TINY["name"]
    assert recipe.data.model_dump() == {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    assert recipe.phases[0].optimizer.epsilon == 1e-7
