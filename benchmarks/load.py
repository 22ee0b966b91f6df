"""How long FER2013's 290 MB table takes to load, and how much memory: pandas as in most notebooks, and mien.

    python -m benchmarks.load --parquet fer2013.parquet --json results/load.json

Each way runs in a fresh process, in turn, and is repeated; the fastest run counts, as other load only adds time. The
table has just been written, so that every way finds it in the page cache. This process itself loads nothing: on Linux,
the peak memory of a new process starts at what the process had that made it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

WAYS = {
    "pandas-split": "pandas.read_csv, np.array(row.split(), dtype='uint8') a row",
    "pandas-fromstring": "pandas.read_csv, np.fromstring(row, dtype='uint8', sep=' ') a row",
    "mien-cold": "load_faces without cache",
    "mien-filling": "load_faces, writing the cache",
    "mien-cached": "load_faces from the cache",
}


def with_pandas(table: Path, way: str) -> int:
    import numpy as np
    import pandas as pd

    frame = pd.read_csv(table)
    pixels = frame[" pixels"]
    if way == "pandas-split":
        images = np.stack([np.array(row.split(), dtype="uint8") for row in pixels])
    else:
        images = np.stack([np.fromstring(row, dtype="uint8", sep=" ") for row in pixels])
    return len(images.reshape(-1, 48, 48))


def with_mien(table: Path, way: str) -> int:
    from mien.data import load_faces

    return len(load_faces(table, cache=way != "mien-cold"))


def child(table: Path, way: str) -> None:
    """Load once, imports included, and print seconds, peak memory in MB (2**20 bytes) and rows."""
    start = time.perf_counter()
    rows = (with_mien if way.startswith("mien") else with_pandas)(table, way)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(peak), "rows": rows}))


def measure(table: Path, way: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--child", way, "--table", str(table)]
    environment = os.environ | {"MIEN_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run(parquet: Path, repeats: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "icml_face_data.csv"
        subprocess.run([sys.executable, "-m", "mien", "data", "convert", parquet, table, "--to", "csv"], check=True)
        megabytes = round(table.stat().st_size / 2**20)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for repeat in range(repeats):
            for way in WAYS:
                runs[way].append(measure(table, way, folder / f"cache-{repeat}"))
    ways = {way: min(results, key=lambda result: result["seconds"]) for way, results in runs.items()}
    for way, results in runs.items():
        ways[way]["peak_mb"] = max(result["peak_mb"] for result in results)
    return {
        "table_mb": megabytes,
        "repeats": repeats,
        "ways": {way: {"what": WAYS[way], **figures} for way, figures in ways.items()},
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("numpy", "pandas", "safetensors")},
    }


def show(result: dict[str, object]) -> None:
    ways = result["ways"]
    assert isinstance(ways, dict)
    base = ways["pandas-split"]
    print(f"{result['table_mb']} MB table, fastest of {result['repeats']} runs")
    for way, figures in ways.items():
        ratio, memory = base["seconds"] / figures["seconds"], base["peak_mb"] / figures["peak_mb"]
        print(
            f"{way:18} {figures['seconds']:7.2f} s  {figures['peak_mb']:6.0f} MB peak  "
            f"{ratio:5.1f} x as fast, 1/{memory:.1f} of the memory"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parquet", type=Path, help="FER2013 in any layout that mien reads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.table, arguments.child)
        return
    if arguments.parquet is None:
        parser.error("--parquet is needed")
    result = run(arguments.parquet, arguments.repeats)
    show(result)
    from benchmarks.report import command, write_report  # after the processes that it starts: it imports mien

    write_report({"command": command(__spec__.name)} | result, arguments.json, quiet=True)


if __name__ == "__main__":
    main()
