"""Half an hour of video through ``mien video``: every frame in the table and the copy, memory flat, sane after Ctrl-C.

Usage: python -m benchmarks.video [--json OUT] [--minutes N]

The video is made here: over a gray ground moves matplotlib's photo of Grace Hopper, and her mirror image comes and
goes. The command is run twice as a process of its own: to the end, while its resident memory is watched, and with
Ctrl-C (SIGINT) in the middle.
"""

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

from benchmarks.report import command, write_report

RATE, SIZE = 25, (320, 240)
OPTIONS = ("--model", "tiny", "--threads", "1", "--every", "25")


def make_video(path, frames):
    photo = np.asarray(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB"))[60:430, 120:430, ::-1]
    face = cv2.resize(photo, (100, 120), interpolation=cv2.INTER_AREA)
    mirrored = np.ascontiguousarray(face[:, ::-1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for number in range(frames):
        frame = np.full((SIZE[1], SIZE[0], 3), (90, 110, 120), np.uint8)
        left, top = int(20 + 15 * np.sin(number / 40)), int(60 + 30 * np.cos(number / 55))
        frame[top : top + 120, left : left + 100] = face
        if number // (20 * RATE) % 2:  # for twenty seconds there, for twenty away
            frame[top : top + 120, left + 160 : left + 260] = mirrored
        writer.write(frame)
    writer.release()


def memory(process):
    """Resident megabytes of a process, and the most that it ever had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


def watch(clip, folder, stop_at=None):
    """Run the command and sample its memory twice a second from its first rows on; Ctrl-C once so many bytes stand."""
    files = {name: folder / f"out.{name}" for name in ("csv", "mp4", "png")}
    written = ("--csv", files["csv"], "--annotate", files["mp4"], "--plot", files["png"])
    command = [sys.executable, "-m", "mien", "video", clip, *OPTIONS, *written, "--json"]
    growing, samples, peak, start = folder / "out.part.csv", [], 0.0, time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        size = growing.stat().st_size if growing.exists() else 0
        if size > 1000:
            try:
                now, peak = memory(process)
            except (KeyError, OSError):  # it has just ended
                break
            samples.append((size, now))
        if stop_at is not None and size > stop_at:
            process.send_signal(signal.SIGINT)
            stop_at = None
        time.sleep(0.5)
    out, err = process.communicate()
    return {
        "exit_code": process.returncode, "wall_seconds": round(time.perf_counter() - start, 1),
        "stderr": err.replace(f"{folder}/", "").splitlines(), "summary": json.loads(out),
        "samples": samples, "peak_mb": round(peak, 1), "table_bytes": files["csv"].stat().st_size, **evaluated(files),
        "left_over": sorted(path.name for path in folder.iterdir() if path not in files.values()),
    }  # fmt: skip


def evaluated(files):
    """What the files hold, each read to its end."""
    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = sorted({int(row["frame"]) for row in rows})
    capture, copied = cv2.VideoCapture(str(files["mp4"])), 0
    while capture.grab():
        copied += 1
    with Image.open(files["png"]) as image:
        image.load()
    return {
        "rows": len(rows), "frames_with_rows": len(numbers), "without_gap": numbers == list(range(len(numbers))),
        "whole_last_row": bool(rows[-1]["frame"]) and None not in rows[-1].values(), "frames_in_copy": copied,
        "copy_megabytes": round(files["mp4"].stat().st_size / 1e6, 1),
    }  # fmt: skip


def quarters(samples):
    """The mean and the most resident megabytes in each quarter of the table's growth."""
    sizes, used = np.array(samples).T
    parts = [used[(sizes > sizes[-1] * k / 4) & (sizes <= sizes[-1] * (k + 1) / 4)] for k in range(4)]
    return [{"mean": round(float(part.mean()), 1), "most": round(float(part.max()), 1)} for part in parts]


def shortened(found):
    """Without the samples, and of the summary what is not in the table."""
    kept = ("frames", "processed", "faces", "tracks", "seconds", "elapsed", "frames_a_second", "notes", "stopped")
    rest = {name: value for name, value in found.items() if name not in ("samples", "summary")}
    return {**{name: found["summary"][name] for name in kept}, **rest}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background would not hear Ctrl-C
    frames = round(options.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as name:
        clip, whole, stopped = (Path(name) / part for part in ("clip.mp4", "whole", "stopped"))
        make_video(clip, frames)
        whole.mkdir()
        stopped.mkdir()
        full = watch(clip, whole)
        print(json.dumps(shortened(full), indent=2), flush=True)
        half = watch(clip, stopped, full["table_bytes"] / 2)
        video = {"frames": frames, "rate": RATE, "size": SIZE, "megabytes": round(clip.stat().st_size / 1e6, 1)}
    parts = quarters(full["samples"])
    report = {
        "command": command(__spec__.name),
        "options": " ".join(OPTIONS) + " --csv --annotate --plot --json", "video": video,
        "opencv": cv2.__version__,
        "whole": shortened(full), "resident_mb_by_quarter": parts,
        "grown_mb_last_to_first_quarter": round(parts[3]["mean"] - parts[0]["mean"], 1), "interrupted": shortened(half),
        "note": "the machine was shared with other work while this ran, so its times are not figures to quote",
    }  # fmt: skip
    write_report(report, options.out)


if __name__ == "__main__":
    main()
