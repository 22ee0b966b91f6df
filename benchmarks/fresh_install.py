"""What `pip install .` alone gives: size, import time, and two real photos named without a network.

Usage: python -m benchmarks.fresh_install --photos GRACE_HOPPER ASTRONAUT COFFEE [--json OUT]

Makes a virtual environment in a temporary folder, installs the checkout into it, and predicts there, under `unshare -n`
where that is allowed (a process without any network).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import ROOT, command, write_report


def offline():
    """What to put before a command so that it has no network; empty where that is not allowed."""
    prefix = ["unshare", "-rn"] if shutil.which("unshare") else []
    return prefix if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []


def output(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def import_seconds(python):
    """Wall seconds of `import mien` beyond an empty interpreter, the median of seven."""
    return statistics.median(
        float(output(python, "-c", "import time; t = time.perf_counter(); import mien; print(time.perf_counter() - t)"))
        for _ in range(7)
    )


def predict(binary, photos, prefix):
    start = time.perf_counter()
    lines = output(*prefix, binary, "predict", *photos, "--json").splitlines()
    seconds = time.perf_counter() - start
    found = [json.loads(line) for line in lines]
    for one in found:
        one["path"] = Path(one["path"]).name
    return found, round(seconds, 3)


def measure(folder, photos):
    output(sys.executable, "-m", "venv", folder)
    python, binary = folder / "bin" / "python", folder / "bin" / "mien"
    output(python, "-m", "pip", "install", "--quiet", ROOT)
    packages = json.loads(output(python, "-m", "pip", "list", "--format", "json"))
    prefix = offline()
    found, seconds = predict(binary, photos, prefix)
    return {
        "megabytes": round(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1),
        "packages": {one["name"]: one["version"] for one in packages},
        "torch": any(one["name"] == "torch" for one in packages),
        "import_seconds": round(import_seconds(python), 4),
        "network": "none (unshare -n)" if prefix else "as it is",
        "predict_seconds": seconds,
        "predictions": found,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {"command": command(__spec__.name), **measure(Path(folder) / "venv", options.photos)}
    write_report(report, options.out)


if __name__ == "__main__":
    main()
