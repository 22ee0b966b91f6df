"""The page in a real browser: photos, the camera, Explore, Compare and Report; nothing is asked of another host."""

from __future__ import annotations

import csv
import io
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from conftest import tiny_recipe
from mien.data import Faces, load_faces
from mien.data.faces import USAGES, Usage
from mien.inference import Predictor
from mien.models.onnx.session import Session
from mien.models.output import with_output
from mien.serving.api.app import create_app
from mien.serving.settings import Settings
from mien.training import Run, train
from support.chromium import find_browser
from support.custom_classes import draw_own, put_own
from support.running_service import running

FLAGS = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE = 30_000


@pytest.fixture(scope="module")
def some_fer(fer2013: Faces) -> Faces:
    """The first 400 faces of PublicTest, and 200 of Training of which the first is also in PublicTest."""
    public, training = fer2013.select("PublicTest"), fer2013.select("Training")
    leaked = np.flatnonzero(~public.clean(training))[0]
    assert leaked < 400
    same = np.flatnonzero((training.images == public.images[leaked]).all((1, 2)))[:1]
    rows = np.concatenate([same, np.arange(200), len(training) + np.arange(400)])
    split = np.flatnonzero(fer2013.usage != USAGES.index(Usage.PRIVATE_TEST))
    return fer2013.take(split[np.unique(rows)])


@pytest.fixture(scope="module")
def tiny() -> Predictor:
    return Predictor("tiny", threads=1)


@pytest.fixture(scope="module")
def pages(tiny_run: Run, drawn: Faces, tiny: Predictor) -> Iterator[str]:
    """The service with its limits and policy: drawn faces and two models at ``/``, photos only at ``/photos``."""
    service = create_app({"tiny": tiny}, Settings(), None)
    with_page(service, {"tiny": tiny}, path="/photos")
    models = {"short": Predictor(tiny_run.bundle, threads=1, detector="none"), "tiny": tiny}
    with_page(service, models, drawn)
    with running(service) as address:
        yield address


@pytest.fixture(scope="module")
def fer_page(some_fer: Faces, tiny: Predictor) -> Iterator[str]:
    """The same with a part of FER2013 and one model."""
    service = create_app({"tiny": tiny}, Settings(), None)
    with running(with_page(service, {"tiny": tiny}, some_fer)) as address:
        yield address


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Faces]:
    """A model of three classes that are no emotions, and the faces that it learned and is evaluated on."""
    root = tmp_path_factory.mktemp("own")
    put_own(root / "crops", draw_own(("big smile", "calm", "überrascht"), 40))
    faces = load_faces(root / "crops")
    bundle = train(tiny_recipe(), faces, root / "run", device="cpu").bundle
    assert bundle is not None
    return Predictor(bundle, threads=1), faces


@pytest.fixture(scope="module")
def own_page(own: tuple[Predictor, Faces]) -> Iterator[str]:
    model, faces = own
    service = create_app({"own": model}, Settings(), None)
    with running(with_page(service, {"own": model}, faces)) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on the PATH (apt-get install chromium, or set CHROMIUM)")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty tab that may ask only this host, and whose scripts may not fail."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    asked, failed = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: failed.append(str(error.error)))
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield found
    context.close()
    hosts = {urllib.parse.urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert failed == []


def with_page(service: FastAPI, models: dict[str, Predictor], faces: Faces | None = None, path: str = "/") -> FastAPI:
    """Mount a page; it imports Gradio, which takes seconds, and every worker collects this file."""
    from mien.serving.page.app import build_page, mount_page

    return mount_page(service, build_page(models, faces), path)


def opened(page: Page, address: str, tab: str = "Predict") -> Page:
    page.goto(address)
    page.get_by_role("tab", name=tab).click()
    return page


def shares(page: Page, where: str) -> dict[str, float]:
    """The first bars below an element."""
    lines = page.locator(f"{where} .mien-bars").first.locator("li").all_inner_texts()
    pairs = (re.fullmatch(r"(\w[\w ]*\w)(?:\s+\(true label\))?\s+([\d.]+)%", line.strip()) for line in lines)
    return {match[1]: float(match[2]) / 100 for match in pairs if match}


def choose(page: Page, label: str, option: str) -> None:
    expect(page.get_by_role("option")).to_have_count(0)  # the list of the box before fades out
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def photo(face: np.ndarray, path: Path) -> Path:
    """A face as a photo that a detector can work on: enlarged, with gray around it."""
    canvas = Image.new("L", (480, 360), 128)
    canvas.paste(Image.fromarray(face).resize((240, 240), Image.Resampling.BICUBIC), (120, 60))
    canvas.save(path)
    return path


def test_photos_are_read_with_frames_bars_and_downloads(
    page: Page, pages: str, tiny: Predictor, some_fer: Faces, tmp_path: Path
) -> None:
    public = some_fer.select("PublicTest")
    paths = [photo(public.images[106], tmp_path / "a <b>.png"), tmp_path / "torn.png"]
    paths[1].write_bytes(b"\x89PNG torn")
    opened(page, f"{pages}/photos/").set_input_files("#mien-files", paths)
    expect(page.locator("#mien-result")).to_contain_text("1 face in 2 images")
    found = tiny.predict(paths[0])
    assert shares(page, "#mien-result") == pytest.approx(found.faces[0].probabilities, abs=6e-4)
    expect(page.locator(".mien-photo")).to_have_attribute("alt", re.compile(f"a <b>.png: {found.faces[0].emotion}"))
    expect(page.locator("#mien-result .mien-notice")).to_contain_text("torn.png: it is not a readable image")
    with page.expect_download() as got:
        page.get_by_role("link", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(got.value.path()).read_text())))
    assert [row["path"] for row in rows] == ["a <b>.png", "torn.png"]
    assert float(rows[0]["confidence"]) == pytest.approx(found.faces[0].confidence)


def test_a_setting_predicts_the_same_image_again(page: Page, pages: str, some_fer: Faces, tmp_path: Path) -> None:
    result = opened(page, f"{pages}/photos/").locator("#mien-result")
    page.set_input_files("#mien-files", photo(some_fer.select("PublicTest").images[106], tmp_path / "a.png"))
    expect(result.locator("section p").first).not_to_contain_text("uncertain")
    expect(result.locator("section")).to_have_count(1)
    page.get_by_label(re.compile("^number input for Report")).fill("1")
    page.get_by_label(re.compile("^number input for Report")).press("Enter")
    expect(result.locator("section p").first).to_contain_text("uncertain")
    before = result.locator("section img").get_attribute("src")
    page.get_by_label("Each image is one face").check()
    expect(result.locator("section img")).not_to_have_attribute("src", before or "")  # the whole image is the face now


def test_many_faces_are_a_grid_whose_bars_open_by_a_click(
    page: Page, pages: str, some_fer: Faces, tmp_path: Path
) -> None:
    one = Image.open(photo(some_fer.select("PublicTest").images[106], tmp_path / "one.png"))
    five = Image.new("L", (one.width * 5, one.height))
    for place in range(5):
        five.paste(one, (place * one.width, 0))
    five.save(tmp_path / "five.png")
    opened(page, f"{pages}/photos/").set_input_files("#mien-files", tmp_path / "five.png")
    faces = page.locator("#mien-result .mien-faces details")
    expect(faces).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollHeight") < 1500
    expect(faces.nth(3).locator(".mien-bars")).to_be_hidden()
    faces.nth(3).locator("summary").click()
    expect(faces.nth(3).locator(".mien-bars")).to_be_visible()


def test_one_progress_bar_at_a_time(pages: str) -> None:
    """Gradio draws a bar over each output of a call that names none for it."""
    calls = httpx.get(f"{pages}/config").json()["dependencies"]
    shown = [one for one in calls if one["show_progress"] != "hidden" and len(one["outputs"]) > 1]
    assert len(shown) > 10
    assert {len(one["show_progress_on"] or []) for one in shown} == {1}


def faults(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds, once the page has come to rest: text that fades in has too little contrast."""
    for _ in range(5):
        found = Axe().run(page).response["violations"]
        if not found:
            break
        page.wait_for_timeout(500)
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(
    chromium: Browser, pages: str, some_fer: Faces, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    found = {}
    with chromium.new_page(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 900}
    ) as page:
        opened(page, pages).set_input_files(
            "#mien-files", photo(some_fer.select("PublicTest").images[106], tmp_path / "a.png")
        )
        expect(page.locator("#mien-result section")).to_have_count(1)
        for tab, ready in {"Predict": "#mien-result section", "Explore": "#mien-matrix .mien-cell",
                           "Compare": "#mien-figures table", "Report": "#mien-report"}.items():  # fmt: skip
            page.set_viewport_size({"width": 1280, "height": 900})  # a narrow page has its last tabs in a menu
            page.get_by_role("tab", name=tab).click()
            expect(page.locator(ready).first).to_be_attached()
            page.set_viewport_size({"width": width, "height": 900})
            found[tab] = faults(page)
    assert found == {tab: [] for tab in found}


def test_the_camera_is_read_and_let_go(page: Page, pages: str) -> None:
    opened(page, f"{pages}/photos/").get_by_role("button", name="Use the camera").click()
    page.wait_for_function("document.querySelector('.mien-camera video').videoWidth > 0")
    page.get_by_label("Each image is one face").check()
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator("#mien-result h2")).to_have_text("camera.png")
    assert sum(shares(page, "#mien-result").values()) == pytest.approx(1, abs=0.005)
    page.get_by_role("button", name="Stop the camera").click()
    assert page.evaluate("document.querySelector('.mien-camera video').srcObject") is None


def test_a_pasted_picture_is_read(page: Page, pages: str, drawn: Faces) -> None:
    buffer = io.BytesIO()
    Image.fromarray(drawn.images[0]).save(buffer, "PNG")
    opened(page, f"{pages}/photos/").get_by_label("Each image is one face").check()
    page.evaluate(
        """(bytes) => {
            const clipboard = new DataTransfer();
            clipboard.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: clipboard }));
        }""",
        list(buffer.getvalue()),
    )
    expect(page.locator("#mien-result h2")).to_have_text("pasted.png")


def test_the_slider_shows_face_106_with_its_bars_and_votes(
    page: Page, fer_page: str, some_fer: Faces, tiny: Predictor
) -> None:
    opened(page, fer_page, "Explore")
    expect(page.locator("#mien-matrix .mien-cell")).to_have_count(49)
    page.locator("#mien-number input[type=number]").fill("105")
    page.locator("#mien-number input[type=number]").press("Enter")
    expect(page.locator("#mien-face h2")).to_have_text("Face 105 of PublicTest")
    page.locator("#mien-number input[type=range]").press("ArrowRight")
    expect(page.locator("#mien-face h2")).to_have_text("Face 106 of PublicTest")
    public = some_fer.select("PublicTest")
    row = Session(tiny.bundle).output(public.images[106:107])[0]
    assert list(shares(page, "#mien-face").values()) == pytest.approx(row.tolist(), abs=6e-4)
    expect(page.locator("#mien-face")).to_contain_text(f"Label: {public.labels[public.emotion[106]]}")
    expect(page.locator("#mien-face")).to_contain_text("FER+ votes: ")
    pixels = page.evaluate(
        """() => {
            const image = document.querySelector("#mien-face img");
            const canvas = new OffscreenCanvas(48, 48).getContext("2d");
            canvas.drawImage(image, 0, 0);
            return [...canvas.getImageData(0, 0, 48, 48).data];
        }"""
    )
    assert np.array_equal(np.array(pixels).reshape(48, 48, 4)[..., 0], public.images[106])


def test_neutral_taken_for_sad_by_filters_and_by_cell(
    page: Page, fer_page: str, some_fer: Faces, tiny: Predictor
) -> None:
    public = some_fer.select("PublicTest")
    said = Session(with_output(tiny.bundle, "fer2013")).output(public.images).argmax(1)
    wanted = np.flatnonzero((public.emotion == 6) & (said == 4))
    assert 0 < len(wanted) < 60
    opened(page, fer_page, "Explore")
    expect(page.locator("#mien-matrix .mien-cell")).to_have_count(49)
    choose(page, "Output", "FER2013 label")
    choose(page, "True label", "Neutral")
    choose(page, "Predicted label", "Sad")
    page.get_by_label("Errors only").check()
    expect(page.locator("#mien-summary")).to_contain_text(f"{len(wanted)} of 400 faces match.")
    expect(page.locator("#mien-gallery .mien-thumb")).to_have_count(len(wanted))
    titles = page.locator("#mien-gallery .mien-thumb").evaluate_all("(all) => all.map((one) => one.title)")
    assert [int(title.split()[1].rstrip(":")) for title in titles] == wanted.tolist()
    expect(page.locator("#mien-face h2")).to_have_text(f"Face {wanted[0]} of PublicTest")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#mien-summary")).to_contain_text("400 of 400 faces match.")
    cell = page.get_by_role("button", name=f"true Neutral, predicted Sad: {len(wanted)}")
    cell.focus()
    cell.press("Enter")
    expect(page.locator("#mien-summary")).to_contain_text(f"{len(wanted)} of 400 faces match.")
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(cell).to_be_focused()


def test_classes_of_ones_own(page: Page, own_page: str, own: tuple[Predictor, Faces], tmp_path: Path) -> None:
    model, public = own[0], own[1].select("PublicTest")
    said = Session(model.bundle).output(public.images[:1])[0]
    opened(page, own_page, "Explore")
    expect(page.locator("#mien-matrix .mien-cell")).to_have_count(9)
    expect(page.locator("#mien-face")).to_contain_text(f"Label: {public.labels[public.emotion[0]]}")
    assert shares(page, "#mien-face") == pytest.approx(dict(zip(public.labels, said, strict=True)), abs=6e-4)
    choose(page, "True label", "überrascht")
    expect(page.locator("#mien-summary")).to_contain_text(
        f"{(public.emotion == 2).sum()} of {len(public)} faces match."
    )
    Image.fromarray(public.images[0]).save(tmp_path / "crop.png")
    opened(page, own_page).get_by_label("Each image is one face").check()
    page.set_input_files("#mien-files", tmp_path / "crop.png")
    expect(page.locator("#mien-result h2")).to_have_text("crop.png")
    assert list(shares(page, "#mien-result")) == list(public.labels)


def test_leaked_and_suspect_faces_are_found_and_marked(page: Page, fer_page: str, some_fer: Faces) -> None:
    opened(page, fer_page, "Explore")
    expect(page.locator("#mien-matrix .mien-cell")).to_have_count(49)
    choose(page, "Leaked", "only")
    public = some_fer.select("PublicTest")
    leaked = np.flatnonzero(~public.clean(some_fer.select("Training")))
    expect(page.locator("#mien-summary")).to_contain_text(f"{len(leaked)} of 400 faces match.")
    expect(page.locator("#mien-face")).to_contain_text("Leaked: the same pixels are also in Training.")
    choose(page, "Leaked", "any")
    choose(page, "Suspect label", "only")
    expect(page.locator("#mien-face")).to_contain_text("Suspect label: most votes are for ")


def test_the_gallery_turns_pages_over_all_faces(page: Page, fer_page: str) -> None:
    opened(page, fer_page, "Explore")
    expect(page.locator("#mien-gallery .mien-thumb")).to_have_count(60)
    page.get_by_role("button", name="Next page").click()
    expect(page.locator(".mien-pager")).to_contain_text("Page 2 of 7")
    page.get_by_role("button", name="Last page").click()
    expect(page.locator("#mien-gallery .mien-thumb")).to_have_count(40)
    page.locator("#mien-gallery .mien-thumb").last.click()
    expect(page.locator("#mien-face h2")).to_have_text("Face 399 of PublicTest")
    expect(page.locator("#mien-number input[type=number]")).to_have_value("399")


def test_grad_cam_on_request(page: Page, pages: str) -> None:
    opened(page, pages, "Explore")
    expect(page.locator("#mien-face img")).to_have_count(1)
    page.get_by_label("Show Grad-CAM").check()
    expect(page.locator("#mien-face img")).to_have_count(2)
    expect(page.locator("#mien-face figcaption")).to_contain_text("Grad-CAM at ")


def test_two_models_side_by_side(page: Page, pages: str, drawn: Faces, tiny_run: Run, tiny: Predictor) -> None:
    opened(page, pages, "Compare")
    expect(page.locator("#mien-figures .mien-table")).to_have_count(2)
    public = drawn.select("PublicTest")
    both = [Session(bundle).output(public.images) for bundle in (tiny_run.bundle, tiny.bundle)]
    one, other = (rows.argmax(1) for rows in both)
    for name, said in (("short", one), ("tiny", other)):
        line = page.locator("#mien-figures tr", has=page.get_by_role("rowheader", name=name, exact=True))
        expect(line).to_contain_text(f"{np.mean(said == public.emotion):.2%}")
    expect(page.locator("#mien-differ")).to_contain_text(f"{int((one != other).sum())} faces")
    number = int(np.flatnonzero(one != other)[-1])
    page.locator("#mien-differ .mien-thumb").last.click()
    expect(page.locator("#mien-pair")).to_contain_text(f"Face {number} of PublicTest")
    assert list(shares(page, "#mien-pair").values()) == pytest.approx(both[0][number].tolist(), abs=6e-4)


def test_the_report_is_made_on_request_and_works_inside(page: Page, pages: str) -> None:
    opened(page, pages, "Report").get_by_role("button", name="Create report").click()
    inside = page.frame_locator("iframe.mien-report")
    expect(inside.locator("h1")).to_contain_text("short", timeout=3 * PATIENCE)
    inside.locator(".cell:enabled").first.click()
    expect(inside.locator("#cell-title")).to_contain_text("True ")
    with page.expect_download() as got:
        page.get_by_role("link", name="Download report").click()
    assert got.value.suggested_filename == "report-short-PublicTest.html"


def test_without_data_the_tabs_say_what_is_missing(page: Page, pages: str) -> None:
    opened(page, f"{pages}/photos/", "Explore")
    expect(page.get_by_role("tabpanel", name="Explore").or_(page.locator(".mien-notice:visible")).first).to_be_visible()
    expect(page.locator(".mien-notice:visible")).to_contain_text("Start the service with --data")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_the_systems_theme(page: Page, pages: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, pages, "Explore")
    expect(page.locator("#mien-matrix .mien-cell")).to_have_count(49)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('.mien-matrix').getBoundingClientRect().right") <= 390
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    page.get_by_role("button", name="Light theme" if scheme == "dark" else "Dark theme").click()
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "light")


def test_uploads_beside_the_page_are_refused(pages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio's own way would keep the file on the disk."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    answer = httpx.post(f"{pages}/gradio_api/upload", files={"files": ("a.png", b"PNG " * 100)}, timeout=30)
    assert answer.status_code == 413
    assert list(tmp_path.rglob("*.png")) == []
