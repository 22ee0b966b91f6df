"""The browser example answers as Python does, in a real browser, and asks nothing of the network."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.data import Faces
from mien.data.crops import crop_face
from mien.data.decoding import read_image
from mien.export.exporter import export_model
from mien.models.bundle import Calibration
from mien.models.load import load_bundle
from mien.models.onnx.session import Session
from support.browser_example import EXAMPLE, Visit, chromium, install
from support.chromium import find_browser
from support.file_server import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from mien.training import Run

COUNT = 20
BYTES = "const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));"
CROP = f"""async (text) => {{
    {BYTES}
    const {{ readPicture, cropFace }} = await import("/mien.js");
    return [...cropFace(await readPicture(new Blob([bytes])), 48)];
}}"""
NOTES = f"""async (text) => {{
    {BYTES}
    const {{ readMetadata }} = await import("/mien.js");
    return Object.fromEntries(readMetadata(bytes));
}}"""
CARDS = f"""async ([text, cuts]) => {{
    {BYTES}
    const {{ readCard }} = await import("/mien.js");
    return cuts.map(([length, place, value]) => {{
        const damaged = bytes.slice(0, length);
        if (place < length) damaged[place] = value;
        try {{
            return readCard(damaged).name;
        }} catch (error) {{
            return `${{error.constructor.name}}: ${{error.message}}`;
        }}
    }});
}}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_run: Run, drawn: Faces) -> Path:
    """The page, installed, with the shipped default in float and int8, and a model of one head and temperature 1.7."""
    if find_browser() is None:
        pytest.skip("no Chromium on the PATH (apt-get install chromium, or set CHROMIUM)")
    if shutil.which("npm") is None:
        pytest.skip("no npm on the PATH")
    try:
        folder = install(tmp_path_factory.mktemp("example") / "browser")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = f"npm could not install the example's packages: {str(error.stderr or error)[-300:]}"
        pytest.fail(reason) if os.environ.get("MIEN_REQUIRE_SHARED") else pytest.skip(reason)
    export_model("best", folder / "model.onnx")
    export_model("best", folder / "int8.onnx", "onnx-int8", drawn, drop=1.0)
    bundle = load_bundle(tiny_run.out)
    warm = bundle.card.model_copy(update={"calibration": Calibration(temperature=1.7)})
    export_model(replace(bundle, card=warm), folder / "one-head.onnx", data=drawn)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Browser]:
    path = find_browser()
    assert path is not None
    with chromium(path) as found:
        yield found


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as found:
        yield found


@pytest.fixture(scope="module")
def tab(engine: Browser, address: str) -> Iterator[Visit]:
    """One tab for all tests: the runtime, 14 MB of WebAssembly, is compiled on every load."""
    context = engine.new_context(viewport={"width": 1100, "height": 900})
    yield Visit(context.new_page(), address)
    context.close()


@pytest.fixture
def visit(tab: Visit) -> Iterator[Visit]:
    """The tab; whatever a test does there, no request may leave this machine."""
    tab.complaints.clear()
    yield tab
    assert tab.elsewhere == []


@pytest.fixture(scope="module")
def photos(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty drawn faces as PNG files, as they are: 48x48, gray."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{place:02}.png" for place in range(COUNT)]
    for path, image in zip(paths, drawn.images, strict=False):
        Image.fromarray(image).save(path)
    return paths


def expected(model: Path, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return Session(load_bundle(model), threads=1).output(images)


# In int8 a value at the edge of one of its 256 steps may fall to either side, as floats are added in another order.
@pytest.mark.parametrize(("model", "bound"), [("model.onnx", 1e-4), ("int8.onnx", 0.01), ("one-head.onnx", 1e-4)])
def test_its_bars_show_pythons_probabilities(
    visit: Visit, folder: Path, photos: list[Path], drawn: Faces, model: str, bound: float
) -> None:
    visit.ensure(model)
    shown = np.array([visit.predict(photo) for photo in photos])
    wanted = expected(folder / model, drawn.images[:COUNT])
    assert np.abs(shown - wanted).max() <= bound
    labels = [bar.get_attribute("aria-label") for bar in visit.page.query_selector_all("[role=meter]")]
    assert labels == list(load_bundle(folder / model).card.labels)
    assert visit.page.inner_text("#emotion") == labels[shown[-1].argmax()]
    assert "ms a face" in visit.page.inner_text("#time")
    assert visit.complaints == []


def base64(data: bytes) -> str:
    return b64encode(data).decode()


def smooth(rng: np.random.Generator, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """A picture without noise, as photos are: a few waves of every colour."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = rng.uniform(-9, 9, (6, 3, channels))
    sums = sum(np.sin(wave[0] * x[..., None] + wave[1] * y[..., None] + wave[2]) for wave in waves)
    return np.clip(128 + 50 * np.asarray(sums), 0, 255).astype(np.uint8)


def encoded(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **settings)
    return file.getvalue()


def test_it_prepares_a_picture_as_python_does(visit: Visit) -> None:
    """Exactly where the picture keeps its size; else a mean halfway between two levels may be rounded the other way."""
    visit.ensure("one-head.onnx")
    for size in ((48, 48), (192, 96), (100, 77), (48, 200), (301, 200), (450, 350), (47, 60), (20, 20)):
        data = encoded(Image.fromarray(smooth(np.random.default_rng(size[0]), *size, 3)))
        wanted = crop_face(read_image(data).pixels, (0, 0, size[1], size[0])).astype(int).ravel()
        apart = np.abs(np.array(visit.page.evaluate(CROP, base64(data))) - wanted)
        assert apart.max() <= (0 if size == (48, 48) else 1), size


def test_transparency_lies_over_white_and_exif_turns_the_picture(visit: Visit) -> None:
    visit.ensure("one-head.onnx")
    rng = np.random.default_rng(5)
    layer = Image.fromarray(smooth(rng, 48, 48, 4), "RGBA")
    turned = Image.Exif()
    turned[0x0112] = 6
    lying = Image.fromarray(smooth(rng, 60, 90, 3))
    for data in (encoded(layer), encoded(lying, exif=turned)):
        picture = read_image(data)
        wanted = crop_face(picture.pixels, (0, 0, picture.width, picture.height)).astype(int).ravel()
        assert np.abs(np.array(visit.page.evaluate(CROP, base64(data))) - wanted).max() <= 1


def test_it_reads_every_note_that_the_file_holds(visit: Visit, folder: Path) -> None:
    visit.ensure("one-head.onnx")
    data = (folder / "one-head.onnx").read_bytes()
    wanted = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    assert visit.page.evaluate(NOTES, base64(data)) == wanted


def test_a_damaged_file_is_refused_in_plain_words(visit: Visit, folder: Path) -> None:
    """Whatever is cut or changed, reading ends, and with one of its own messages."""
    visit.ensure("one-head.onnx")
    model = onnx.load(folder / "one-head.onnx")
    model.graph.ClearField("node")
    model.graph.ClearField("initializer")
    data = model.SerializeToString()
    rng = np.random.default_rng(11)
    cuts = [
        [int(cut), int(place), int(value)]
        for cut, place, value in rng.integers(0, (len(data), len(data), 256), (500, 3))
    ]
    answers = visit.page.evaluate(CARDS, [base64(data), cuts])
    own = ("it is no ONNX file", "it is no model that mien exported", "its metadata make no sense")
    refused = [answer for answer in answers if answer != model_name(data)]
    assert len(refused) > 250
    assert [answer for answer in refused if not answer.removeprefix("Error: ").startswith(own)] == []


def model_name(data: bytes) -> str:
    notes = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    return notes["name"]


def test_without_the_runtime_it_says_what_to_run(engine: Browser, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "bare", ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    with served(tmp_path / "bare") as address:
        context = engine.new_context()
        visit = Visit(context.new_page(), address)
        visit.open(wait="#problem:visible")
        assert "Run npm ci in this folder" in visit.page.inner_text("#problem")
        context.close()


def test_what_is_no_picture_is_refused_and_the_next_is_named(visit: Visit, photos: list[Path], tmp_path: Path) -> None:
    visit.ensure("one-head.onnx")
    is_corrupt = tmp_path / "broken.png"
    is_corrupt.write_bytes(photos[0].read_bytes()[:60])
    visit.page.set_input_files("#file", is_corrupt)
    visit.page.wait_for_selector("#problem:visible")
    assert "broken.png is no picture" in visit.page.inner_text("#problem")
    assert sum(visit.predict(photos[0])) == pytest.approx(1)
    assert visit.page.is_hidden("#problem")


def move_by_keys(page: Page) -> None:
    page.focus("#frame")
    for key in ["ArrowUp", "ArrowRight"] * 30:
        page.keyboard.press(key)


def move_by_mouse(page: Page) -> None:
    """Slowly: each step is less than a pixel of the photo."""
    box = page.locator("#frame").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y - 200, steps=100)
    page.mouse.up()


@pytest.mark.parametrize("move", [move_by_keys, move_by_mouse])
def test_the_frame_moves_to_a_face(
    visit: Visit, drawn: Faces, folder: Path, tmp_path: Path, move: Callable[[Page], None]
) -> None:
    """A face in the corner of a wide photo is named as by itself once the frame lies on it."""
    visit.ensure("one-head.onnx")
    scene = np.full((96, 144), 90, np.uint8)
    scene[:48, 96:] = drawn.images[0]
    Image.fromarray(scene).save(tmp_path / "scene.png")
    visit.predict(tmp_path / "scene.png")
    visit.page.focus("#zoom")
    for _ in range(10):
        visit.page.keyboard.press("ArrowRight")
    move(visit.page)
    assert visit.page.inner_text("#zoomed") == "48 pixels"
    wanted = expected(folder / "one-head.onnx", drawn.images[:1])[0]
    assert np.abs(np.array(visit.shown()) - wanted).max() <= 1e-4


def test_the_camera_is_named_frame_by_frame_until_it_is_stopped(visit: Visit) -> None:
    visit.open("one-head.onnx")
    page = visit.page
    page.click("#camera")
    page.wait_for_selector("#time:text-matches('last ([5-9]|[1-9][0-9])')")
    assert page.inner_text("#camera") == "Stop the camera"
    page.wait_for_selector("#spoken:not(:empty)", state="attached")
    page.click("#camera")
    assert page.is_hidden("#video")
    assert page.evaluate("document.getElementById('video').srcObject.active") is False
    assert visit.complaints == []


def test_everything_has_a_name_and_is_reached_by_tab(visit: Visit) -> None:
    visit.open("one-head.onnx")
    reached = []
    for _ in range(2):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate("document.activeElement.id"))
    assert reached == ["file", "camera"]
    for role, name in (("button", "Use the camera"), ("alert", None), ("meter", "Happy"), ("heading", "No face yet")):
        assert visit.page.get_by_role(role, name=name, include_hidden=role == "alert").count() == 1  # type: ignore[arg-type]
    assert visit.page.get_by_label("Choose a photo").count() == 1


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (30, 30)])
def test_a_photo_of_any_shape_is_seen_whole_even_on_a_phone(
    visit: Visit, size: tuple[int, int], tmp_path: Path
) -> None:
    visit.ensure("one-head.onnx")
    visit.page.set_viewport_size({"width": 320, "height": 640})
    Image.new("L", size, 90).save(tmp_path / "gray.png")
    visit.predict(tmp_path / "gray.png")
    photo, stage = (visit.page.locator(name).bounding_box() for name in ("#photo", "#stage"))
    assert photo is not None
    assert stage is not None
    for at, length in (("x", "width"), ("y", "height")):
        assert stage[at] <= photo[at]
        assert photo[at] + photo[length] <= stage[at] + stage[length]
    assert photo["width"] / photo["height"] == pytest.approx(size[0] / size[1], rel=0.02)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("none.onnx", "There is no none.onnx to fetch from this folder. Write one with: mien export best"),
        ("foreign.onnx", 'foreign.onnx: it is no model that mien exported: its metadata lack "preprocessing"'),
        ("cut.onnx", "cut.onnx: it is no ONNX file, or only a part of one"),
        ("https://example.org/x.onnx", "is no name of an .onnx file in this folder"),
        ("../x.onnx", "is no name of an .onnx file in this folder"),
    ],
)
def test_a_model_that_will_not_do_is_named(visit: Visit, folder: Path, model: str, says: str) -> None:
    data = (folder / "one-head.onnx").read_bytes()
    foreign = onnx.load_from_string(data)
    del foreign.metadata_props[:]
    (folder / "foreign.onnx").write_bytes(foreign.SerializeToString())
    (folder / "cut.onnx").write_bytes(data[: len(data) // 2])
    visit.open(model, "#problem:visible")
    assert says in visit.page.inner_text("#problem")
    assert visit.page.is_disabled("#file")


def test_the_lock_file_pins_one_version_and_names_no_address() -> None:
    asked = json.loads((EXAMPLE / "package.json").read_text())["dependencies"]
    text = (EXAMPLE / "package-lock.json").read_text()
    locked = json.loads(text)["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in asked} == asked
    assert all("integrity" in one for name, one in locked.items() if name)
    assert "resolved" not in text
