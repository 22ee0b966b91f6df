"""Mutated image files: every one is read or refused with an ImageError, in bounded time and memory.

Usage: python -m benchmarks.fuzz_images [--mutations 10000] [--json OUT]
"""

import argparse
import io
import resource
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import command, write_report
from mien.data.decoding import read_image
from mien.errors import ImageError

FORMS = (
    ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("BMP", {}), ("WEBP", {}), ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}), ("PPM", {}), ("AVIF", {}),
)  # fmt: skip


def seeds():
    """A small picture in every format, by name."""
    ramp = np.add.outer(np.arange(24) * 5, np.arange(32) * 4)
    image = Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1).astype(np.uint8))
    found = {}
    for form, options in FORMS:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        found[" ".join([form, *map(str, options.values())])] = buffer.getvalue()
    return found


def mutated(data, rng):
    """A few bytes changed, some cut out, some doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    way, place = rng.integers(4), int(rng.integers(len(changed)))
    if way == 1:
        del changed[place:]
    elif way == 2:
        del changed[place : place + int(rng.integers(1, 30))]
    elif way == 3:
        changed[place:place] = changed[place : place + 40]
    return bytes(changed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng, files, counts, slowest = np.random.default_rng(0), seeds(), Counter(), 0.0
    for data in files.values():
        read_image(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(options.mutations):
        data = mutated(list(files.values())[number % len(files)], rng)
        start = time.perf_counter()
        try:
            read_image(data, max_pixels=10_000_000)
            counts["read"] += 1
        except ImageError:
            counts["refused"] += 1
        slowest = max(slowest, time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = {
        "command": command(__spec__.name), "formats": list(files), "mutations": options.mutations, **counts,
        "slowest_seconds": round(slowest, 3), "memory_grown_mb": round((after - before) / 1024, 1),
    }  # fmt: skip
    write_report(report, options.out)


if __name__ == "__main__":
    main()
