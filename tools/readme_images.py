"""The README's pictures: an annotated photo, the report, the service's page. Writes docs/pictures/readme-*.png.

    python -m tools.readme_images --photo astronaut.png

The photo is scikit-image's astronaut.png (NASA, public domain); the package carries it as skimage/data/astronaut.png.
The report is of a small model on drawn faces, so that no picture of a data set is copied. It needs the extras train,
serve and dev, and a Chromium on the PATH or in CHROMIUM.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path

from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.report import ROOT
from mien._utils.files import atomic
from mien.data.decoding import read_image
from mien.data.synthetic import draw_faces
from mien.evaluation.report.page import make_report
from mien.inference import Predictor
from mien.inference.writers import with_boxes
from mien.serving.page.app import build_page, mount_page
from mien.training import load_recipe, train
from tools.page_screenshots import PATIENCE, served

OUT = ROOT / "docs" / "pictures"
LARGEST = 200_000
COLOURS = (256, 128, 64, 32)


def keep(picture: Image.Image, name: str) -> None:
    """Write a picture with as many colours as fit into the README's size."""
    for colours in COLOURS:
        buffer = io.BytesIO()
        picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() < LARGEST:
            break
    with atomic(OUT / f"readme-{name}.png") as temporary:
        temporary.write_bytes(buffer.getvalue())
    print(f"readme-{name}.png: {buffer.tell():,} bytes, {colours} colours, {picture.width}x{picture.height}")


def annotated(photo: Path, predictor: Predictor) -> Image.Image:
    """The photo's upper part with the face with_boxes and named."""
    whole = with_boxes(read_image(photo), predictor.predict(photo))
    return whole.crop((0, 0, whole.width, whole.height * 7 // 10))


def shot(browser: Browser, address: str, height: int) -> Image.Image:
    page = browser.new_page(viewport={"width": 1000, "height": height}, color_scheme="light", reduced_motion="reduce")
    page.goto(address)
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot()))


def report(folder: Path, browser: Browser) -> Image.Image:
    """The top of a report on drawn faces."""
    faces = draw_faces(1500, seed=5)
    recipe = load_recipe("toy", ["phases.0.epochs=6"])
    bundle = train(recipe, faces, folder / "run", device="cpu", progress=False).bundle
    assert bundle is not None
    path = make_report(bundle, faces).write(folder / "report.html")
    return shot(browser, path.as_uri(), 1000)


def service(photo: Path, browser: Browser) -> Image.Image:
    """The page of the service, with the photo."""
    predictor = Predictor("best", threads=1)
    with served(mount_page(FastAPI(), build_page({"best": predictor}, None))) as address:
        page = browser.new_page(viewport={"width": 1000, "height": 860}, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.set_input_files("#mien-files", photo)
        page.locator("#mien-result .mien-bars").first.wait_for()
        page.wait_for_timeout(500)
        return Image.open(io.BytesIO(page.screenshot(full_page=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--only", choices=("photo", "report", "page"))
    args = parser.parse_args()
    if args.only in (None, "photo"):
        keep(annotated(args.photo, Predictor("best")), "photo")
    if args.only == "photo":
        return
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as name:
        chromium = driver.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        if args.only in (None, "report"):
            keep(report(Path(name), chromium), "report")
        if args.only in (None, "page"):
            keep(service(args.photo, chromium), "page")
        chromium.close()


if __name__ == "__main__":
    main()
