"""Make docs/browser.md from results/browser.json; with --check, only compare.

Usage: python -m tools.browser_page [--check]
"""

from benchmarks.report import ROOT
from tools.output import check_option, read_result, update

PAGE = ROOT / "docs" / "browser.md"


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
[its README](../examples/browser/README.md) explains how to start it.

Made by `python -m tools.browser_page` from `results/browser.json`, which
`{found["command"]}` wrote:
{found["browser"]}, onnxruntime-web {version}, {hardware["cpu"]}.
Times are medians over {faces["count"]} faces of {faces["split"]}, one by one, scaling and softmax included; Python is
the same file in mien's session, measured alternately with the browser; both use one thread. Load average {load:.1f} on
{hardware["cores"]} cores: a load above the number of cores means other work on the machine, so both times are too long.

| model | type | file | browser, per face | Python, per face | largest difference of a probability | same prediction |
|---|---|---|---|---|---|---|
{rows}

Besides the model, the page loads the runtime: {megabytes(found["runtime_bytes"])}, uncompressed.

Bit-identical: an image of 48x48 pixels as 8-bit PNG, gray or colour, and its scaling. In the network only the order of
floating-point additions differs. In int8, where this moves a value across one of its 256 quantization steps, a
probability may differ by more than the table shows; the tests allow 0.01.

At most one of 255 gray levels apart: images of other sizes (a mean halfway between two levels may be rounded the other
way, and OpenCV upscales with less precise weights) and transparent ones. Further apart: JPEG (another decoder), photos
with a side above 2,560 pixels (downscaled by another method), 16-bit and CMYK images. A browser that adds noise to
canvas pixels, as a protection against fingerprinting, adds it to the face, too.
"""


def main():
    update(PAGE, page(read_result("browser")), check_option(__doc__), __spec__.name)


if __name__ == "__main__":
    main()
