"""Make docs/browser.md from results/browser.json; with --check, only compare.

Usage: python benchmarks/browser_page.py [--check]
"""

import argparse
import json
import sys
from pathlib import Path

from mien._utils.files import atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "results" / "browser.json", ROOT / "docs" / "browser.md"


def megabytes(count):
    return f"{count / 1e6:.2f} MB"


def row(name, one):
    times = one["milliseconds_a_face"]
    model, kind = name.split(", ")
    cells = (
        f"`{model}`",
        kind,
        megabytes(one["bytes"]),
        f"{times['browser']:.1f} ms",
        f"{times['python']:.1f} ms",
        f"{one['largest_difference']:.1e}",
        f"{100 * one['same_answer']:.1f} %",
    )
    return "| " + " | ".join(cells) + " |"


def page(found):
    rows = "\n".join(row(name, one) for name, one in found["models"].items())
    faces, load, hardware = found["faces"], found["load_average"][0], found["hardware"]
    version = found["runtime"]["onnxruntime-web"]
    return f"""# In a browser

`examples/browser` is a page that runs an exported model on ONNX Runtime Web;
[its README](../examples/browser/README.md) says how to start it.

Made by `python benchmarks/browser_page.py` from `results/browser.json`, which
`{found["command"]}` wrote:
{found["browser"]}, onnxruntime-web {version}, {hardware["cpu"]}.
Time is the median over {faces["count"]} faces of {faces["split"]}, one by one, scaling and softmax included; Python is
the same file in mien's session, in turns with the browser; each has one thread. Load average {load:.1f} on
{hardware["cores"]} cores: above that number of cores the machine had other work, and both times are too long.

| model | numbers | file | browser, a face | Python, a face | largest difference of a probability | same answer |
|---|---|---|---|---|---|---|
{rows}

Besides the model, the page loads the runtime: {megabytes(found["runtime_bytes"])}, uncompressed.

The same to the bit: a picture of 48x48 pixels as PNG of eight bits, gray or colour, and its scaling. In the network
only the order of additions of floats differs. In int8, where this moves a value over the edge of one of its 256 steps,
a probability may be further apart than the table shows; the tests allow 0.01.

At most one of 255 gray levels apart: pictures of other sizes (a mean halfway between two levels may be rounded the
other way, and OpenCV enlarges with rougher weights) and transparent ones. Further apart: JPEG (another decoder), photos
with a side above 2,560 pixels (reduced in another way), 16 bits and CMYK. A browser that adds noise to what a canvas
shows, against fingerprinting, adds it to the face, too.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where the page is not what the results say")
    options = parser.parse_args()
    text = page(json.loads(RESULTS.read_text()))
    if options.check:
        sys.exit(None if PAGE.read_text() == text else f"{PAGE} is not what the results say: run {Path(__file__).name}")
    with atomic(PAGE) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
