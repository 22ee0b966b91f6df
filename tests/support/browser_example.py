"""The browser example as people run it: installed by npm, served from this machine, open in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "browser"
PATIENCE = 120
"""Seconds for npm, and for the page to start, before giving up."""
READY = "html[data-ready=yes]"


def install(folder: Path) -> Path:
    """Copy the page into a new folder and install what its lock file names.

    Raises:
        CalledProcessError, TimeoutExpired: where npm cannot.
    """
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    command = ["npm", "ci", "--prefer-offline"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return folder


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A headless Chromium whose camera shows a moving test picture."""
    # The sandbox needs rights that containers do not give; the only page it opens is our own.
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=flags)
        try:
            yield found
        finally:
            found.close()


class Visit:
    """The page, opened once: what it asked for and what it complained of.

    Attributes:
        page: Playwright's.
        elsewhere: addresses of requests that left this machine.
        complaints: console errors and warnings, and exceptions.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.model: str | None = None
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self._note(request.url))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith(("blob:", "data:")) and urlsplit(url).hostname != "127.0.0.1":
            self.elsewhere.append(url)

    def open(self, model: str = "model.onnx", wait: str = READY) -> None:
        """Load the page with a model of its folder, and wait for an element."""
        self.page.goto(f"{self.address}?model={model}")
        self.page.wait_for_selector(wait, timeout=1000 * PATIENCE)
        self.model = model if wait == READY else None

    def ensure(self, model: str) -> None:
        """Load the page with a model, unless it stands there already."""
        if self.model != model:
            self.open(model)

    def predict(self, photo: Path) -> list[float]:
        """Choose a photo as a person would, and read the probabilities off the bars."""
        seen = int(self.page.get_attribute("#answer", "data-count") or 0)
        self.page.set_input_files("#file", photo)
        self.page.wait_for_selector(f"#answer[data-count='{seen + 1}']", timeout=1000 * PATIENCE)
        return self.shown()

    def shown(self) -> list[float]:
        """The probabilities on the bars, once nothing is being named."""
        self.page.wait_for_selector("#answer:not([data-busy])")
        read: list[float] = self.page.eval_on_selector_all("[role=meter]", "all => all.map((one) => +one.ariaValueNow)")
        return read
