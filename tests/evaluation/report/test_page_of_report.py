"""The report's file: self-contained, with reasons for what it cannot show, and working in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mien.data import Faces
from mien.errors import DataError
from mien.evaluation.report.page import Report, make_report
from mien.models.bundle import Calibration, save_bundle
from mien.models.load import load_bundle
from support.chromium import Page, browser, find_browser

if TYPE_CHECKING:
    from mien.training import Run

READY = "document.documentElement.dataset.ready === 'yes'"
PARTS = ("metrics", "confusion", "classes", "errors", "labels", "calibration", "training", "comparison", "provenance")


class Reader(HTMLParser):
    """The page's sections as text, its ids, and every address that it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.data = ""
        self._section = self._script = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("src", "href", "xlink:href", "srcset", "action") if name in found]
        if tag == "section":
            self._section = found["id"]
        self._script = found.get("id", "code") if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self._script == "data":
            self.data += data
        elif not self._script and self._section:
            self.sections[self._section] = f"{self.sections.get(self._section, '')} {' '.join(data.split())}"

    def handle_endtag(self, tag: str) -> None:
        self._script = "" if tag in ("script", "style") else self._script
        self._section = "" if tag == "section" else self._section

    def missing(self) -> list[str]:
        """The sections with something that cannot be shown."""
        return [name for name, text in self.sections.items() if "Cannot be shown:" in text]


def read(report: Report, path: Path) -> Reader:
    return Reader(report.write(path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def voted(drawn: Faces) -> Faces:
    """Drawn faces, their test splits repeated six times, with votes that mostly agree with the label."""
    tests = np.flatnonzero(drawn.usage != 0)
    faces = drawn.take(np.concatenate([np.flatnonzero(drawn.usage == 0), np.repeat(tests, 6)]))
    rng = np.random.default_rng(4)
    place = np.array([4, 5, 6, 1, 3, 2, 0])[faces.emotion]
    shares = 0.02 + 0.8 * np.eye(10)[np.where(rng.random(len(faces)) < 0.8, place, rng.integers(0, 10, len(faces)))]
    votes = rng.multinomial(10, shares / shares.sum(1, keepdims=True)).astype(np.uint8)
    return replace(faces, votes=votes, row=np.arange(len(faces)))


@pytest.fixture(scope="module")
def report(tiny_run: Run, voted: Faces) -> Report:
    return make_report(tiny_run.out, voted, others=[tiny_run.out])


def test_the_page_says_what_the_figures_are(report: Report, tmp_path: Path) -> None:
    page = read(report, tmp_path / "report.html")
    assert tuple(page.sections) == PARTS
    assert page.missing() == []
    figures = report.to_dict()
    for name in ("PublicTest", "PrivateTest"):
        one = figures["splits"][name]
        low, high = one["interval"]
        for text in (name, f"{one['accuracy']:.2%}", f"{low:.1%} to {high:.1%}", f"{one['clean']['accuracy']:.2%}"):
            assert text in page.sections["metrics"]
    counts = [int(word) for row in figures["splits"]["PublicTest"]["confusion"] for word in row]
    cells = re.findall(r"(?<!\S)(\d+) (?:\d+%|–)", page.sections["confusion"])
    assert [int(cell) for cell in cells] == counts
    assert "mien train recipe.yaml --data D --out RUN --seed 1" in page.sections["provenance"]
    assert (figures["compared"][0]["difference"]["PublicTest"]["mcnemar"]["p"], figures["shown"]) == (1.0, "PublicTest")
    assert json.loads(json.dumps(figures, allow_nan=False)) == json.loads(json.dumps(figures))


def test_the_page_asks_for_nothing_and_its_ids_are_unique(report: Report, tmp_path: Path) -> None:
    page = read(report, tmp_path / "report.html")
    assert [a[:40] for a in page.addresses if not a.startswith(("#", "data:"))] == []
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    text = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|WebSocket|importScripts", text)


def test_equal_reports_are_equal_files(report: Report, tiny_run: Run, voted: Faces, tmp_path: Path) -> None:
    first = report.write(tmp_path / "a.html").read_bytes()
    again = make_report(tiny_run.out, voted, others=[tiny_run.out]).write(tmp_path / "b.html").read_bytes()
    assert first == again


def test_what_cannot_be_shown_says_why_and_the_rest_stands(tiny_run: Run, voted: Faces, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_run.out)
    card = bundle.card.model_copy(update={"provenance": {}})
    bare = save_bundle(replace(bundle, card=card), tmp_path / "bare" / "best.mien")
    faces = replace(voted.select("PublicTest"), votes=None)
    found = make_report(bare, faces, "PrivateTest", others=[tmp_path / "none.mien"])
    page = read(found, tmp_path / "report.html")
    assert tuple(page.sections) == PARTS
    assert page.missing() == ["metrics", "labels", "training", "comparison", "provenance"]
    for name, text in {
        "metrics": "no faces in the split PrivateTest",
        "labels": "it has no FER+ votes",
        "training": "no history.csv lies beside the bundle",
        "comparison": "no such model",
        "provenance": "does not say by which recipe",
    }.items():
        assert text in page.sections[name]
    assert found.split == "PublicTest"
    assert "The faces below are those of PublicTest." in found.notes
    assert f"{found.evaluation.accuracy:.2%}" in page.sections["metrics"]
    assert "leaked duplicates of PublicTest cannot be found" in page.sections["metrics"]
    assert found.to_dict()["splits"]["PrivateTest"].keys() == {"why"}
    assert json.loads(page.data)["votes"] is None


def test_a_report_that_can_show_no_split_is_refused(tiny_run: Run, voted: Faces) -> None:
    with pytest.raises(DataError, match="no split can be shown"):
        make_report(tiny_run.out, voted.select("Training"))
    with pytest.raises(DataError, match="its classes are not the model's"):
        make_report(tiny_run.out, replace(voted, labels=tuple(reversed(voted.labels))))


def test_names_cannot_break_out_of_the_page(tiny_run: Run, voted: Faces, tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>\"'&"
    bundle = load_bundle(tiny_run.out)
    labels = (bad, *voted.labels[1:])
    card = bundle.card.model_copy(update={"labels": labels, "name": bad})
    found = make_report(replace(bundle, card=card), replace(voted, labels=labels, name=bad))
    page = read(found, tmp_path / "report.html")
    assert json.loads(page.data)["labels"] == list(labels)
    assert bad in page.sections["classes"]
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_a_bundle_with_a_temperature_is_shown_without_it_too(tiny_run: Run, voted: Faces, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_run.out)
    card = bundle.card.model_copy(update={"calibration": Calibration(temperature=2.5)})
    page = read(make_report(replace(bundle, card=card), voted), tmp_path / "report.html")
    assert "temperature 2.500" in page.sections["calibration"]
    assert all(name in page.sections["calibration"] for name in ("before", "after"))


def test_faces_of_fer2013_fit_into_5_megabytes(tiny_run: Run, fer2013: Faces, tmp_path: Path) -> None:
    found = make_report(tiny_run.out, fer2013, "PrivateTest")
    assert found.write(tmp_path / "report.html").stat().st_size < 5e6
    assert json.loads(Reader((tmp_path / "report.html").read_text()).data)["count"] == 3589


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The report in Chromium."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on the PATH (apt-get install chromium, or set CHROMIUM)")
    file = report.write(tmp_path_factory.mktemp("report") / "report.html")
    with browser(path) as found:
        found.resize(1280, 900)
        found.prefer("light")
        found.open(file, READY)
        yield found
        assert found.complaints == []
        assert {address.partition(":")[0] for address in found.requests} == {"file", "data"}
        assert sum(address.startswith("file:") for address in found.requests) == 1


def shown(page: Page) -> tuple[str, int]:
    """The chosen cell's title, and how many faces are drawn below it."""
    found: list[Any] = page.run(
        "[document.getElementById('cell-title').textContent, document.querySelectorAll('.thumb canvas').length]"
    )
    return found[0], found[1]


def test_a_click_on_a_cell_shows_its_faces(page: Page, report: Report) -> None:
    confusion = np.asarray(report.evaluation.figures["confusion"])
    labels = report.evaluation.faces.labels
    for true, predicted in np.argwhere(confusion)[:4].tolist():
        page.click(f".cell[data-true='{true}'][data-predicted='{predicted}']")
        title, drawn = shown(page)
        count = int(confusion[true, predicted])
        assert title.startswith(f"True {labels[true]}, predicted {labels[predicted]}: {count} face")
        assert drawn == min(count, 60)
        assert page.run("document.querySelector('.cell[aria-pressed=true] b').textContent") == str(count)


def test_the_faces_of_a_cell_are_those_faces(page: Page, report: Report) -> None:
    """The pixels of the first face drawn are those of the most confident face of the cell."""
    found = report.evaluation
    true, predicted = np.argwhere(np.asarray(found.figures["confusion"]))[0]
    page.click(f".cell[data-true='{true}'][data-predicted='{predicted}']")
    inside = np.flatnonzero((found.faces.emotion == true) & (found.predicted == predicted))
    sure = np.rint(found.probabilities.max(1)[inside] * 10_000)
    best = inside[np.argsort(-sure, kind="stable")[0]]
    script = "[...document.querySelector('.thumb canvas').getContext('2d').getImageData(0, 0, 48, 48).data]"
    pixels = np.array(page.run(script)).reshape(48, 48, 4)[..., 0]
    assert np.abs(pixels - found.faces.images[best].astype(int)).mean() < 6


def test_a_face_opens_with_bars_votes_and_grad_cam_by_keyboard_alone(page: Page, report: Report) -> None:
    page.run("document.querySelector('.thumb').focus()")
    page.press("Enter")
    page.wait("document.getElementById('face').open")
    text = page.run("document.getElementById('face').innerText")
    assert "Face 1 of" in text
    assert all(label in text for label in report.evaluation.faces.labels)
    assert re.search(r"row \d+ · FER\+: \d+ \w+", text)
    assert page.run("document.querySelectorAll('#face canvas').length") == 2
    page.press("ArrowRight")
    assert "Face 2 of" in page.run("document.getElementById('face-title').textContent")
    page.press("Escape")
    page.wait("!document.getElementById('face').open")


def test_a_link_opens_its_section_with_errors_pairs_and_suspects(page: Page, report: Report) -> None:
    wrong = int((~report.evaluation.hits).sum())
    for section in ("errors", "labels"):
        assert page.run(f"document.querySelector('#{section} > details').open") is False
        page.click(f"nav a[href='#{section}']")
        page.wait(f"document.querySelector('#{section} > details').open")
    page.run("location.hash = '#training'; true")
    page.wait("document.querySelector('#training > details').open")
    assert page.run("document.querySelectorAll('[data-faces=errors] .face').length") == min(24, wrong)
    assert page.run("document.querySelectorAll('#pairs details').length") > 0
    assert page.run("document.querySelectorAll('#pairs details[open] .face').length") > 0
    assert page.run("document.querySelectorAll('[data-faces=by_votes] .face').length") > 0


def test_the_theme_follows_the_system_and_the_button(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.prefer("dark")
    dark = page.run(ground)
    assert light != dark
    page.click("#theme")
    assert (page.run("document.getElementById('theme').textContent"), page.run(ground)) == ("Theme: light", light)
    page.prefer("light")
    page.click("#theme")
    assert page.run(ground) == dark
    page.click("#theme")
    assert page.run(ground) == light


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_the_first_screen_holds_metrics_matrix_and_links(page: Page, size: tuple[int, int]) -> None:
    width, height = size
    page.resize(width, height, phone=width < 600)
    page.run("document.querySelectorAll('details').forEach((details) => { details.open = false; })")
    bottoms = "[...document.querySelectorAll('nav, #metrics .numbers, .matrix')].map("
    bottoms += "(part) => part.getBoundingClientRect().bottom + scrollY)"
    found, whole = page.run(bottoms), page.run("document.documentElement.scrollHeight")
    page.resize(1280, 900)
    assert len(found) == 3
    assert max(found) <= height
    assert whole <= 3 * height


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(page: Page, width: int) -> None:
    axe = Path(pytest.importorskip("axe_playwright_python").__file__).with_name("axe.min.js")
    page.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.wait("document.querySelector('[data-faces=errors] .face') !== null")
    cards = "document.querySelectorAll('.cards > :nth-child(n + 3), .thumbs > :nth-child(n + 3)')"
    page.run(f"{cards}.forEach((one) => one.remove())")  # all are alike, and axe needs a minute for all
    page.run(axe.read_text(encoding="utf-8") + "; true")
    page.resize(width, 900, phone=width < 600)
    violations = (
        "axe.run().then((found) => found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]))"
    )
    found = {}
    for scheme in ("dark", "light"):
        page.prefer(scheme)
        found[scheme] = page.run(violations)
    page.resize(1280, 900)
    assert found == {"dark": [], "light": []}


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    page.resize(390, 844, phone=True)
    wide = "[document.documentElement.scrollWidth, document.querySelector('.matrix').getBoundingClientRect().right]"
    whole, matrix = page.run(wide)
    page.resize(1280, 900)
    assert whole == 390
    assert matrix <= 390


def test_it_prints(page: Page, tmp_path: Path) -> None:
    assert page.print(tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.run("[...document.querySelectorAll('#pairs details')].every((pair) => pair.querySelector('.face'))")
