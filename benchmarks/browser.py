"""A shipped model in headless Chromium: how near to Python, milliseconds a face, file sizes. Needs npm and chromium.

Usage: python -m benchmarks.browser --data FER2013 [--models NAME ...] [--faces N] [--json OUT]

Each model is exported in float and in int8, and the page of examples/browser, installed by npm and served from this
machine, names the same PrivateTest faces as Python's session of the same file, from PNG files. Time is that of one face
after the other, scaling and softmax included, one thread each; browser and Python take turns.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import ROOT, command, write_report
from mien.data import load_faces
from mien.export.exporter import export_model
from mien.models.load import load_bundle, shipped_models
from mien.models.onnx.session import Session

sys.path.append(str(ROOT / "tests"))

from support.browser_example import EXAMPLE, Visit, chromium, install
from support.file_server import served

TARGETS = {"float": "onnx", "int8": "onnx-int8"}
BLOCK = 20
"""How many faces the browser and Python name before the other's turn."""
NAME = """async (photos) => {
    const { cropFace, readPicture } = await import("/mien.js");
    const answers = [];
    for (const photo of photos) {
        const bytes = Uint8Array.from(atob(photo), (one) => one.charCodeAt(0));
        const face = cropFace(await readPicture(new Blob([bytes])), window.model.card.side);
        const began = performance.now();
        const shares = await window.model.probabilities(face);
        answers.push([performance.now() - began, shares]);
    }
    return answers;
}"""
LOAD = """async (file) => {
    const [{ Model }, ort] = await Promise.all(
        ["/mien.js", "/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"].map((path) => import(path)));
    const began = performance.now();
    window.model = await Model.load(new Uint8Array(await (await fetch(file)).arrayBuffer()), ort);
    return performance.now() - began;
}"""


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return b64encode(file.getvalue()).decode()


def in_python(session, images):
    rows, times = [], []
    for image in images:
        start = time.perf_counter()
        rows.append(session.output(image[None])[0])
        times.append(1000 * (time.perf_counter() - start))
    return times, rows


def compare(visit, path, images):
    """What the browser and Python make of the same faces with the same file, in turns."""
    visit.open(path.name)
    load = visit.page.evaluate(LOAD, path.name)
    session = Session(load_bundle(path), threads=1)
    page, here = ([], []), ([], [])
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        answers = visit.page.evaluate(NAME, [png(image) for image in block])
        for found, (times, rows) in ((page, zip(*answers, strict=True)), (here, in_python(session, block))):
            found[0].extend(times)
            found[1].extend(rows)
    shown, wanted = np.array(page[1]), np.array(here[1])
    apart = np.abs(shown - wanted).max(1)
    return {
        "bytes": path.stat().st_size,
        "ready_milliseconds": round(load, 1),
        "milliseconds_a_face": {
            "browser": round(statistics.median(page[0]), 2),
            "python": round(statistics.median(here[0]), 2),
        },
        "largest_difference": float(apart.max()),
        "median_difference": float(np.median(apart)),
        "same_answer": float((shown.argmax(1) == wanted.argmax(1)).mean()),
    }


def measure(models, faces, count, path):
    images = faces.select("PrivateTest").images[:count]
    with tempfile.TemporaryDirectory() as parent:
        folder = install(Path(parent) / "browser")
        files = {}
        for name in models:
            for kind, target in TARGETS.items():
                files[f"{name}, {kind}"] = export_model(name, folder / f"{name}-{kind}.onnx", target, faces).path
        with served(folder) as address, chromium(path) as engine:
            visit = Visit(engine.new_page(), address)
            found = {name: compare(visit, file, images) for name, file in files.items()}
            return {
                "browser": f"Chromium {engine.version}, headless",
                "runtime": json.loads((EXAMPLE / "package.json").read_text())["dependencies"],
                "runtime_bytes": sum(one.stat().st_size for one in runtime(folder)),
                "requests_elsewhere": visit.elsewhere,
                "faces": {"data": faces.name, "split": "PrivateTest", "count": len(images)},
                "load_average": os.getloadavg(),
                "models": found,
            }


def runtime(folder):
    """The two files of the runtime that the page asks for."""
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    return [dist / "ort.wasm.bundle.min.mjs", dist / "ort-wasm-simd-threaded.wasm"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=shipped_models())
    parser.add_argument("--faces", type=int, default=400)
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        parser.error("no chromium on the PATH (apt-get install chromium, or set CHROMIUM)")
    report = {
        "command": command(__spec__.name),
        **measure(options.models, load_faces(options.data), options.faces, path),
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
