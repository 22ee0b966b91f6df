"""Nothing leaves the machine: each command, the service and its page are traced for sockets and for files in HOME."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from conftest import write_recipe
from mien.data import Faces
from mien.data.writers import convert_faces
from mien.models.load import load_bundle

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

TRACED = "connect,bind,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
RUN = """
import shlex, sys, time
from mien.cli import main
for line in sys.argv[1].splitlines():
    sys.argv = ["mien", *shlex.split(line)]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (line, stop.code)
time.sleep(2)
"""
WITHOUT_TORCH = """
predict image.png --csv faces.csv --parquet faces.parquet --annotate copies
video clip.avi --csv video.csv --plot video.png
data info drawn.csv
data convert drawn.csv drawn.parquet --to parquet
score images scores --engine local --workers 2 --detector none
"""
WITH_TORCH = """
train recipe.yaml --data drawn.csv --out run --device cpu
evaluate run --data drawn.csv --out figures
compare run tiny --data drawn.csv
report run --data drawn.csv --out report.html
show run face.png --index 0 --data drawn.csv --attribution
summary run
export run run.onnx --to onnx
card run --data drawn.csv --out card.md
data check drawn.csv --model tiny
data ferplus votes.parquet
sweep recipe.yaml --space space.yaml --data drawn.csv --out search --trials 1 --device cpu
"""


def trace(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a command in the folder, with an empty HOME, under strace."""
    (folder / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not re.match(r"MIEN_|XDG_|ORT_|GRADIO_|HF_", name)}
    home = {"HOME": str(folder / "home"), "MIEN_CACHE": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "plots")}
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={TRACED}", "-o", str(folder / "trace.txt")]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen([*strace, *command], cwd=folder, env=kept | home, stdout=log, stderr=log)


def contacted(folder: Path) -> set[str]:
    """The addresses of other machines that a traced process has used."""
    found = {one or other for one, other in ADDRESS.findall((folder / "trace.txt").read_text(errors="replace"))}
    return {one for one in found if not ip_address(one).is_loopback}


def home_files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder / "home")) for path in (folder / "home").rglob("*") if path.is_file()]


@pytest.fixture
def folder(tmp_path: Path, drawn_csv: Path, some_faces: Faces) -> Path:
    shutil.copy(drawn_csv, tmp_path / "drawn.csv")
    image = np.full((64, 64, 3), 90, np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "images").mkdir()
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(3):
        video.write(image)
    video.release()
    write_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "space.yaml").write_text("phases.0.optimizer.lr: {kind: uniform, low: 0.001, high: 0.01}\n")
    convert_faces(some_faces, tmp_path / "votes.parquet", "parquet")
    return tmp_path


@pytest.mark.parametrize("lines", [WITHOUT_TORCH, WITH_TORCH], ids=["without torch", "with torch"])
def test_commands_contact_nobody(lines: str, folder: Path) -> None:
    assert trace(folder, sys.executable, "-c", RUN, lines.strip()).wait(300) == 0, (folder / "log.txt").read_text()
    assert contacted(folder) == set()
    assert home_files(folder) == []


def test_the_article_trains_on_a_machine_without_a_network(folder: Path) -> None:
    short = ("--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1", "--device", "cpu")
    command = [sys.executable, "-m", "mien", "train", "article", "--data", "drawn.csv", "--out", "run", *short]
    env = os.environ | {"MIEN_CACHE": str(folder / "cache"), "HOME": str(folder)}
    ran = subprocess.run(["unshare", "--net", *command], cwd=folder, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert load_bundle(folder / "run").card.provenance["recipe"]["imagenet"] is True


def test_the_service_and_its_page_contact_nobody(folder: Path) -> None:
    serve = ["serve", "--port", "0", "--data", "drawn.csv", "--model", "tiny"]
    process = trace(folder, sys.executable, "-m", "mien", *serve)
    try:
        url = wait_for_address(folder / "log.txt", process)
        with httpx.Client(base_url=url, timeout=60) as client:
            files = {"images": ("image.png", (folder / "image.png").read_bytes())}
            assert client.post("/v1/predict", files=files).status_code == 200
            assert client.get("/", follow_redirects=True).status_code == 200
        time.sleep(2)
    finally:
        process.send_signal(signal.SIGINT)  # strace ends with what it traces
        subprocess.run(["pkill", "-TERM", "-P", str(process.pid)], check=False)
        process.wait(60)
    assert "127.0.0.1" in (folder / "trace.txt").read_text(errors="replace")  # it does see sockets
    assert contacted(folder) == set()
    assert home_files(folder) == []


def wait_for_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_a_setting_of_the_users_is_kept() -> None:
    """Who wants a library's telemetry can have it."""
    script = "import os\nimport mien.models.onnx.runtime\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, expected in ((None, "1"), ("0", "0")):
        environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
        ran = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == expected


def test_onnx_runtime_is_imported_in_one_place() -> None:
    import mien

    root = Path(mien.__file__).parent
    importing = re.compile(r"^\s*(import onnxruntime|from onnxruntime)", re.MULTILINE)
    found = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if importing.search(path.read_text())]
    assert found == ["models/onnx/runtime.py"]
