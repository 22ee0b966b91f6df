"""The documentation site: it builds without a warning, no link is dead, and nothing of it asks another host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from support.chromium import browser, find_browser
from support.site_links import Page, dead_links, is_elsewhere, read_site

pytest.importorskip("mkdocs", reason="MkDocs is not installed")
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def read(site: Path) -> dict[Path, Page]:
    return read_site(site)


def test_no_link_of_the_site_is_dead(site: Path, read: dict[Path, Page]) -> None:
    assert len(read) > 15
    assert not dead_links(site, read)


def test_dead_links_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="b.html#here">b</a><a href="#top">up</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#gone">a</a><img src="none.png"><a href="../out.html">out</a>')
    assert dead_links(tmp_path, read_site(tmp_path)) == [
        "a.html: b.html#here",
        "b.html: a.html#gone",
        "b.html: ../out.html",
        "b.html: none.png",
    ]


def test_nothing_is_asked_of_another_host(site: Path, read: dict[Path, Page]) -> None:
    assert not [(path.name, one) for path, page in read.items() for one in page.loads if is_elsewhere(one)]
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium")
    with browser(path) as page:
        for name in ("index.html", "api.html", "commands.html"):
            page.open(site / name)
    assert page.requests
    assert not [one for one in page.requests if not one.startswith(("file:", "data:", "blob:"))]


def test_every_page_is_in_the_navigation() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = {page for part in settings["nav"] for target in part.values() for page in _pages(target)}
    assert {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} <= named


def _pages(target: str | list[dict[str, str]]) -> list[str]:
    return [target] if isinstance(target, str) else [page for entry in target for page in entry.values()]
