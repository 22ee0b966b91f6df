"""How `mien data check` grows with the data: seconds, processor seconds and peak memory at 1x, 2x and 4x.

    python benchmarks/data_check.py --data fer2013.parquet --json results/data_check_scaling.json

The larger sets are the data and copies of it with noise of up to 3 gray levels, so that every face has as many near
duplicates as there are copies. Each size runs in a fresh process; the seconds are those of the check, without reading.
The check by the command itself, reading included, comes first: cold, then from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mien.provenance import environment

SCALES = (1, 2, 4)


def child(data: Path, scale: int) -> None:
    """Check the data `scale` times over and print the figures as JSON."""
    import numpy as np

    from mien.data import load_faces
    from mien.data.faces import join
    from mien.data.quality import check_faces

    faces = load_faces(data)
    rng = np.random.default_rng(0)
    parts = [faces]
    for _ in range(scale - 1):
        noise = rng.integers(-3, 4, faces.images.shape, dtype=np.int16)
        parts.append(replace(faces, images=(faces.images + noise).clip(0, 255).astype(np.uint8)))
        del noise
    faces = join(parts, f"{scale}x")
    parts.clear()
    loaded = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    figures = check_faces(faces).figures
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - loaded.ru_utime - loaded.ru_stime
    row = {"scale": scale, "rows": len(faces), "images_mb": round(faces.images.nbytes / 2**20)}
    row |= {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(used.ru_maxrss / 1024)}
    print(json.dumps(row | {name: figures[name] for name in ("duplicate_groups", "near_duplicate_groups")}))


def command(data: Path, cache: str) -> dict[str, float]:
    """Run the command itself in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    line = [sys.executable, "-m", "mien", "data", "check", str(data), "--json"]
    subprocess.run(line, env=os.environ | {"MIEN_CACHE": cache}, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(used.ru_maxrss / 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.data, arguments.child)
        return
    with tempfile.TemporaryDirectory() as cache:
        runs = {way: command(arguments.data, cache) for way in ("cold", "cached")}
    print(json.dumps(runs))
    rows = []
    for scale in SCALES:
        line = [sys.executable, __file__, "--data", str(arguments.data), "--child", str(scale)]
        rows.append(json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout))
        print(json.dumps(rows[-1]), flush=True)
    load = round(os.getloadavg()[2], 1)
    result = {"command": runs, "check": rows, "threads": os.environ.get("OMP_NUM_THREADS"), "load_average": load}
    result |= environment() | {
        "made_by": "python benchmarks/data_check.py --data D --json results/data_check_scaling.json"
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
