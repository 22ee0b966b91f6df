"""Links of a built site: every address in its pages, and which of them lead nowhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser asks for by itself; so it does for every ``link``."""
CSS_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")


@dataclass
class Page(HTMLParser):
    """A page's anchors and addresses.

    Attributes:
        anchors: every ``id``, and every ``name`` of an ``a``.
        links: addresses to follow.
        loads: addresses that a browser asks for by itself.
    """

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.anchors.update(found[name] for name in ("id", "name") if name in found and (name == "id" or tag == "a"))
        if "href" in found:
            asked = tag == "link" and found.get("rel") not in ("canonical", "next", "prev")
            (self.loads if asked else self.links).append(found["href"])
        self.loads += [found[name] for name in LOADED if name in found]
        self.loads += CSS_URL.findall(found.get("style", ""))


def read_site(site: Path) -> dict[Path, Page]:
    """Every page of a built site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def is_elsewhere(address: str) -> bool:
    """Whether an address names another host."""
    return bool(urlsplit(address).netloc)


def dead_links(site: Path, pages: dict[Path, Page]) -> list[str]:
    """``PAGE: ADDRESS`` for every address inside the site that leads to no file, or to no such place in it."""
    return [
        f"{path.relative_to(site)}: {address}"
        for path, page in pages.items()
        for address in [*page.links, *page.loads]
        if not _leads(site, pages, path, address)
    ]


def _leads(site: Path, pages: dict[Path, Page], path: Path, address: str) -> bool:
    parts = urlsplit(address)
    if parts.netloc or parts.scheme in ("mailto", "data", "javascript"):
        return True
    target = (
        path
        if not parts.path
        else (site if parts.path.startswith("/") else path.parent) / unquote(parts.path.lstrip("/"))
    )
    target = target.resolve() / "index.html" if target.is_dir() else target.resolve()
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
