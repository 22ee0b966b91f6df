"""Photograph pages of the built site on a desktop and on a phone, light and dark. Needs a Chromium.

Usage: make docs && python -m tools.docs_screenshots OUT [--page NAME ...]

Writes OUT/PAGE-SIZE-SCHEME.png, prints every page that is wider than its screen, and exits 1 where there is one, or
where a page asks another host for something.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.report import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from support.chromium import browser, find_browser

SITE = ROOT / "build" / "site"
SIZES = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def shoot(page, name, out):
    """Take one page in both sizes and schemes; gives what is wrong with it."""
    faults = []
    for size, measures in SIZES.items():
        for scheme in ("light", "dark"):
            page.resize(*measures)
            page.prefer(scheme)
            page.open(SITE / f"{name}.html")
            page.run("localStorage.clear()")  # where the theme keeps the scheme of the first visit
            page.open(SITE / f"{name}.html")
            page.shoot(out / f"{name.replace('/', '-')}-{size}-{scheme}.png")
            wider = page.run(WIDER)
            if wider > 0:
                faults.append(f"{name}, {size}: {wider} pixels wider than the screen")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--page", action="append", help="such as start; without it, every page")
    options = parser.parse_args()
    path = find_browser() or sys.exit("no Chromium: put one on the PATH, or name it in CHROMIUM")
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.page or [str(one.relative_to(SITE).with_suffix("")) for one in sorted(SITE.glob("*.html"))]
    with browser(path) as page:
        faults = [fault for name in names for fault in shoot(page, name, options.out)]
        faults += [f"asked for {one}" for one in page.requests if one.startswith("http")]
    print("\n".join(faults) or f"{len(names)} pages fit their screens")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
