"""Pictures of the page: every tab, on a desktop and on a phone, light and dark. Writes docs/pictures/page-*.webp.

    mien data toy drawn --n 1400 && python -m tools.page_screenshots drawn/icml_face_data.csv

On drawn faces, since FER2013's are not ours to show. It needs the extras serve and dev, and a Chromium on the PATH or
in CHROMIUM. The photo is three faces of the data, enlarged.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.report import ROOT
from mien.data import Faces, load_faces
from mien.inference import Predictor
from mien.serving.page.app import build_page, mount_page

OUT = ROOT / "docs" / "pictures"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PATIENCE = 120_000


def some(faces: Faces, each: int) -> Faces:
    """The first faces of every split, so that the page is soon there."""
    return faces.take(np.concatenate([np.flatnonzero(faces.usage == usage)[:each] for usage in range(3)]))


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def photo(images: np.ndarray) -> bytes:
    """Three faces side by side, enlarged, as a PNG."""
    canvas = Image.new("L", (880, 400), 110)
    for place, image in enumerate(images):
        face = Image.fromarray(image).resize((240, 240), Image.Resampling.BICUBIC)
        canvas.paste(face, (40 + 280 * place, 80))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def predict(page: Page, picture: bytes) -> None:
    page.set_input_files("#mien-files", [{"name": "three.png", "mimeType": "image/png", "buffer": picture}])
    page.locator("#mien-result .mien-bars").first.wait_for()


def explore(page: Page, _: bytes) -> None:
    page.locator("#mien-matrix .mien-cell").first.wait_for()
    number = page.locator("#mien-number input[type=number]")
    number.fill("106")
    number.press("Enter")
    page.get_by_role("heading", name="Face 106 of").wait_for()
    page.get_by_label("Show Grad-CAM").check()
    page.locator("#mien-face figcaption").wait_for()


def report(page: Page, _: bytes) -> None:
    page.get_by_role("button", name="Create report").click()
    page.frame_locator("iframe.mien-report").locator("h1").wait_for()


def compare(page: Page, _: bytes) -> None:
    page.locator("#mien-figures .mien-table").first.wait_for()


def turn_to(page: Page, name: str) -> None:
    """Open a tab; on a narrow screen Gradio keeps those that do not fit behind a button."""
    page.locator("[role=tab]:visible").first.wait_for()
    tab = page.get_by_role("tab", name=name)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown").get_by_role("button", name=name).click()


TABS: dict[str, Callable[[Page, bytes], None]] = {
    "Predict": predict,
    "Explore": explore,
    "Report": report,
    "Compare": compare,
}


def shoot(page: Page, out: Path) -> int:
    """Take the whole page, and say how many bytes the file has."""
    page.wait_for_timeout(500)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        image.convert("RGB").save(out, "WEBP", quality=60, method=6)
    return out.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--faces", type=int, default=600, help="how many faces of each split are shown")
    arguments = parser.parse_args()
    faces = some(load_faces(arguments.data), arguments.faces)
    picture = photo(faces.select("PublicTest").images[[106, 3, 20]])
    models = {name: Predictor(name, threads=1) for name in ("best", "tiny")}
    OUT.mkdir(parents=True, exist_ok=True)
    with served(mount_page(FastAPI(), build_page(models, faces))) as address, sync_playwright() as driver:
        browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for size, viewport in SIZES.items():
            for scheme in ("light", "dark"):
                context = chromium.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
                page = context.new_page()
                page.set_default_timeout(PATIENCE)
                page.goto(address)
                for tab, act in TABS.items():
                    turn_to(page, tab)
                    act(page, picture)
                    out = OUT / f"page-{tab.lower()}-{size}-{scheme}.webp"
                    print(f"{out.name}: {shoot(page, out):,} bytes", flush=True)
                context.close()
        chromium.close()


if __name__ == "__main__":
    main()
