"""A million faces through ``mien score``: memory by quarter, rate, and how much of the plain predictor's rate is kept.

Usage: python -m benchmarks.score --data D [--rows N] [--model M] [--int8] [--engine E] [--workers N] [--json OUT]

The input is a folder of FER2013's parquet file, linked as often as the rows need it. The command runs as a process of
its own; the memory of all its processes is sampled (what they share is counted once). Before and after it, the plain
predictor names faces of the same file, in this process: on one thread, and on as many as there are workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.report import command, write_report
from mien.emotions import LABELS
from mien.inference import Predictor

BATCH, EVERY = 64, 0.5


def make_input(data, rows, folder):
    """The file as often as it goes whole into ``rows``, linked, and the rest as a file of its own."""
    folder.mkdir()
    whole = pq.read_metadata(data).num_rows
    for number in range(rows // whole):
        (folder / f"faces-{number:04}.parquet").symlink_to(data.resolve())
    if rest := rows % whole:
        table = pq.read_table(data, columns=["image"]).slice(0, rest)
        pq.write_table(table, folder / f"faces-{rows // whole:04}.parquet")
    return whole


def plain(model, threads, blobs):
    """Faces a second of the predictor by itself."""
    predictor = Predictor(model, threads, "none", batch=BATCH)
    for _ in predictor.stream(blobs[: 4 * BATCH]):
        pass
    start = time.perf_counter()
    for _ in predictor.stream(blobs):
        pass
    return len(blobs) / (time.perf_counter() - start)


def tree(root):
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def megabytes(process):
    """Proportional memory of a process; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def watch(words, out):
    """Run the command; its summary, and memory twice a second from its first part on."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    samples, printed = [], []
    reader = threading.Thread(target=lambda: printed.extend(process.communicate()))
    reader.start()
    while reader.is_alive():
        if next(out.glob("part-*"), None) is not None:
            first, *others = tree(process.pid)
            samples.append((megabytes(first), sum(map(megabytes, others))))
        reader.join(EVERY)
    if process.returncode:
        raise SystemExit(printed[1])
    # As processes begin and end, samples show what no quarter is to show.
    return json.loads(printed[0]), samples[2:-2], printed[1].splitlines()


def quarters(samples):
    parts = np.array_split(np.array(samples), 4)
    return {
        name: [
            {"mean": round(float(part[:, place].mean()), 1), "most": round(float(part[:, place].max()), 1)}
            for part in parts
        ]
        for place, name in enumerate(("command", "workers"))
    }


def check(out, whole, rows):
    """That each row is there once and in order, and how far repeats of a face differ."""
    reference, worst, at = [], 0.0, 0
    for path in sorted(out.glob("part-*.parquet")):
        table = pq.read_table(path)
        numbers = table["row"].to_numpy()
        assert (numbers == np.arange(at, at + len(numbers))).all(), path
        assert table["error"].null_count == len(numbers), path
        shares = np.stack([table[label].to_numpy() for label in LABELS], 1)  # (rows, 7)
        new = max(0, min(whole - at, len(numbers)))
        reference.extend(shares[:new])
        if new < len(numbers):
            before = np.array([reference[number] for number in numbers[new:] % whole])
            worst = max(worst, float(np.abs(shares[new:] - before).max()))
        at += len(numbers)
    assert at == rows
    return {"rows_in_order_once": at, "largest_difference_of_a_probability_between_repeats": worst}


def model_of(options, folder):
    if not options.int8:
        return options.model
    from mien.data import load_faces
    from mien.export.exporter import export_model

    path = folder / f"{options.model}-int8.onnx"
    export_model(options.model, path, "onnx-int8", load_faces(options.data))
    return str(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 as parquet")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--int8", action="store_true", help="export the model to int8 first")
    parser.add_argument("--engine", default="local", choices=("local", "ray"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--plain", type=int, default=8192, help="faces of each run of the plain predictor")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    threads = sorted({1, options.workers})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = model_of(options, folder)
        whole = make_input(options.data, options.rows, folder / "faces")
        table = next(pq.ParquetFile(options.data).iter_batches(min(whole, options.plain), columns=["image"]))
        blobs = table.column(0).to_pylist()
        rates = {count: [plain(model, count, blobs)] for count in threads}
        words = [sys.executable, "-m", "mien", "score", folder / "faces", folder / "out", "--model", model, "--json"]
        words += ["--engine", options.engine, "--workers", options.workers, "--batch-size", BATCH]
        summary, samples, printed = watch(list(map(str, words)), folder / "out")
        for count in threads:
            rates[count].append(plain(model, count, blobs))
        found = check(folder / "out", whole, options.rows)
        size = sum(path.stat().st_size for path in (folder / "out").iterdir())
    rate, alone = summary["rows_a_second"], {count: statistics.mean(both) for count, both in rates.items()}
    memory = quarters(samples)
    report = {
        "command": command(__spec__.name), "model": options.model + ("-int8" if options.int8 else ""),
        "engine": options.engine, "workers": options.workers, "rows": options.rows,
        "seconds": summary["seconds"], "rows_a_second": rate,
        "plain_predictor": {
            f"threads {count}": {
                "faces_a_second": round(alone[count], 1), "before_and_after": [round(rate, 1) for rate in both]
            }
            for count, both in rates.items()
        },
        "efficiency": {
            "of_as_many_plain_predictors_as_workers": round(rate / (options.workers * alone[1]), 3),
            "of_one_plain_predictor_with_as_many_threads": round(rate / alone[options.workers], 3),
        },
        "megabytes_by_quarter": memory,
        "grown_megabytes_last_to_first_quarter": {
            name: round(parts[3]["mean"] - parts[0]["mean"], 1) for name, parts in memory.items()
        },
        "bytes_a_row_written": round(size / options.rows, 1), **found, "stderr": printed,
    }  # fmt: skip
    write_report(report, options.out)


if __name__ == "__main__":
    main()
