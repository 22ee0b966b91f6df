"""The virtual environments of the peers and of mien: how each is made, its size and its import time."""

import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.report import ROOT

FER = ("fer==25.10.3", "setuptools<81", "opencv-contrib-python<5")
"""What fer needs to run: it imports pkg_resources, and OpenCV 5's wheels have no Haar cascades any more."""


def created(work, name, *packages):
    """The interpreter of the environment ``work/name``, made with these packages where it is missing."""
    folder = work / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"making the environment {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / ".ready").touch()
    return python


def fer_python(work):
    """fer with all that it requires: TensorFlow, and for its MTCNN PyTorch, as pip chooses them."""
    return created(work, "fer", *FER)


def keras_python(work):
    """Keras on TensorFlow, with what its ImageDataGenerator requires."""
    tensorflow = "tensorflow-cpu" if platform.system() == "Linux" else "tensorflow"
    return created(work, "keras", tensorflow, "scipy", "pillow")


def mien_python(work):
    """mien as `pip install mien` gives it, without PyTorch; its code stays in this checkout."""
    return created(work, "mien", "--editable", ROOT)


def output(python, text):
    return subprocess.run([python, "-c", text], check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def import_seconds(python, statement, rounds=3):
    """Seconds of an import in a fresh interpreter, the median."""
    text = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return round(statistics.median(float(output(python, text)) for _ in range(rounds)), 3)


def installed(python):
    """Bytes of an environment's site-packages, with the source of what is installed from a folder, and its packages."""
    folder = Path(output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    if not (folder / "mien").exists() and list(folder.glob("mien-*.dist-info")):
        size += sum(path.stat().st_size for path in (ROOT / "src" / "mien").rglob("*") if path.is_file())
    text = "import json; from importlib import metadata; print(json.dumps(len(list(metadata.distributions()))))"
    return {"megabytes": round(size / 1e6, 1), "packages": json.loads(output(python, text))}
