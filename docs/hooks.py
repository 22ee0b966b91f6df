"""What the site needs beyond MkDocs: files outside docs/ that its pages link to, and docstrings without Sphinx's marks.

Pages link to ``../examples/...`` and ``../results/...``, which is right on a code host. Here these files become part of
the site, and the links lead to them.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()(?:\.\./)+((?:examples|results|deploy|notebooks|src)/[^)#\s]+|[A-Z]+\.md)")
"""A Markdown link out of docs/, from any depth of its folders."""
ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):(?=<code>)")
"""What Sphinx would read before a name in backquotes."""
log = logging.getLogger("mkdocs.hooks.mien")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation what this checkout does not have."""
    config.nav = [entry for entry in map(_present, config.nav or []) if entry]
    return config


def _present(entry: Any) -> Any:
    (title, target), *_ = entry.items()
    if isinstance(target, list):
        inside = [one for one in map(_present, target) if one]
        return {title: inside} if inside else None
    if not (ROOT / "docs" / target).is_file():
        log.info("not here, so not in the navigation: %s", target)
        return None
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that pages link to, and those that these link to in turn."""
    waiting = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        page = waiting.pop()
        for name in _outside(page):
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
                waiting += [ROOT / name] if name.endswith(".md") else []
    return files


def _outside(page: Path) -> list[str]:
    names = [match[2] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    return [name for name in names if (ROOT / name).is_file()]


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links out of docs/ to the copies in the site, and links of these copies into docs/ back."""
    up = "../" * page.file.src_uri.count("/")
    markdown = LINK.sub(rf"\g<1>{up}\g<2>", markdown)
    return re.sub(r"(\]\()(?:\.\./)+docs/", rf"\g<1>{up}", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Drop Sphinx's roles and its lone ``::`` from docstrings."""
    return ROLE.sub("", html).replace("<p>::</p>", "")
