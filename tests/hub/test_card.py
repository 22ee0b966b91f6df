"""Model cards: those that are committed, and those of one's own models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Ran
from mien.data import Faces
from mien.hub.card import FRONT, front_matter, model_card
from mien.models.load import load_bundle, shipped_models
from mien.training import Run

ROOT = Path(__file__).resolve().parent.parent.parent
CARDS = ROOT / "docs" / "cards"
Mien = Callable[..., Ran]
AGES = ("young", "old")


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_states_each_licence_and_its_limits(name: str) -> None:
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    for words in ("**Code**", "**These weights**", "**ImageNet pretraining**", "**FER2013's images**"):
        assert words in text
    assert "Article 5(1)(f)" in text
    assert "not what the person feels" in text
    assert front_matter(text)["mien"]["sha256"] == load_bundle(name).sha256
    path = CARDS / f"{name}.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        picture.verify()


def test_a_card_of_ones_own(mien: Mien, tiny_run: Run, drawn_csv: Path, drawn: Faces, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    test = drawn.select("PrivateTest")
    groups.write_text("row,age\n" + "\n".join(f"{row},{AGES[place % 2]}" for place, row in enumerate(test.row)))
    about = tmp_path / "about.md"
    about.write_text("Drawn by a program; nobody is in them.")
    ran = mien(
        "card", tiny_run.out, "--data", drawn_csv, "--out", tmp_path / "CARD.md", "--groups", groups,
        "--license", "mit", "--about-data", about,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    front = front_matter(text)
    assert front["license"] == "mit"
    assert [one["dataset"]["split"] for one in front["model-index"][0]["results"]] == ["PublicTest", "PrivateTest"]
    assert "Drawn by a program; nobody is in them." in text
    assert "| young |" in text
    assert "FER2013's images" not in text


def test_a_card_without_figures_claims_none(tiny_run: Run) -> None:
    assert tiny_run.bundle is not None
    text = model_card(load_bundle(tiny_run.out))
    assert "Nothing else was measured." in text
    assert "license" not in front_matter(text)
    assert "model-index" not in front_matter(text)


@pytest.mark.parametrize(
    "text", ["", "# no front", f"{FRONT}\nkey: [\n{FRONT}\n", f"{FRONT}\n- a\n{FRONT}\n", "---\na: 1"]
)
def test_what_has_no_front_matter(text: str) -> None:
    assert front_matter(text) == {}


def test_groups_without_data(mien: Mien, tmp_path: Path) -> None:
    ran = mien("card", "tiny", "--groups", tmp_path / "x.csv", "--out", tmp_path / "c.md")
    assert ran.code == 2
    assert "Name the data set with --data" in ran.err
