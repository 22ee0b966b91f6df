"""``mien video``: its speed against searching every frame in whole, and a long video in flat memory.

Usage: python -m benchmarks.video [--json OUT] [--minutes N] [--rounds N]

Speed: clips of 640x480 pixels with one face and with four that move and zoom, the last of which fades in and out, go
through the command with ``best``, with its own ``--search-interval`` and with 0, which searches every frame in whole,
in turns. The faces of the two are compared frame by frame.

A long video: over a gray ground moves matplotlib's photo of Grace Hopper, and her mirror image comes and goes. The
command is run twice as a process of its own: to the end, while its resident memory is watched, and with Ctrl-C (SIGINT)
in the middle.
"""

import argparse
import csv
import json
import os
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
from mien.inference.tracking import overlap

RATE, SIZE = 25, (320, 240)
OPTIONS = ("--model", "tiny", "--threads", "1", "--every", "5")
SPEED_SIZE, SPEED_FRAMES = (640, 480), 500
INTERVALS = {"near_known_faces": (), "every_frame_in_whole": ("--search-interval", "0")}


def portrait():
    return np.asarray(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB"))[60:430, 120:430, ::-1]


def make_clip(path, faces, frames=SPEED_FRAMES):
    """Faces, each in a part of the frame of its own, over a blurred pattern."""
    pattern = np.random.default_rng(0).integers(60, 170, (SPEED_SIZE[1] // 16, SPEED_SIZE[0] // 16, 3), np.uint8)
    ground = cv2.resize(pattern, SPEED_SIZE, interpolation=cv2.INTER_CUBIC)
    parts = 1 if faces == 1 else 2
    wide, high = SPEED_SIZE[0] / parts, SPEED_SIZE[1] / parts
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SPEED_SIZE)
    for number in range(frames):
        frame, time = ground.copy(), number / RATE
        for i in range(faces):
            height = int((300 if faces == 1 else 190) * (0.75 + 0.25 * np.sin(1.1 * time + i)))
            face = cv2.resize(portrait()[:, :: 1 - 2 * (i % 2)], (int(0.84 * height), height))
            left = int((i % parts) * wide + (wide - face.shape[1]) * (0.5 + 0.5 * np.sin(1.3 * time + i)))
            top = int((i // parts) * high + (high - height) * (0.5 + 0.5 * np.cos(0.9 * time + 2 * i)))
            shown = np.clip(1.5 * np.sin(0.8 * time) + 0.6, 0, 1) if i == faces - 1 else 1.0
            part = frame[top : top + height, left : left + face.shape[1]]
            part[:] = shown * face + (1 - shown) * part
        writer.write(frame)
    writer.release()


def by_frame(path):
    """The rows of each frame's faces."""
    frames = [[] for _ in range(SPEED_FRAMES)]
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["x"]:
                row["box"] = [int(row[name]) for name in ("x", "y", "box_width", "box_height")]
                frames[int(row["frame"])].append(row)
    return frames


def same(face, others):
    """The face of others that overlaps most, and the intersection over union; None below 0.3."""
    best = max(((overlap(face["box"], one["box"]), i) for i, one in enumerate(others)), default=(0, 0))
    return (best[0], others[best[1]]) if best[0] >= 0.3 else None


def agreement(near, whole):
    """How the faces found near known ones compare with those of every frame searched in whole."""
    shares, equal, late, lost, extra = [], [], {}, 0, 0
    for number, (ours, theirs) in enumerate(zip(near, whole, strict=True)):
        extra += sum(same(one, theirs) is None for one in ours)
        for face in theirs:
            if match := same(face, ours):
                shares.append(match[0])
                equal.append(match[1]["emotion"] == face["emotion"])
            else:
                lost += number > 0 and same(face, near[number - 1]) is not None
                late.setdefault(face["track"], []).append(number)
    runs = [len(run) for numbers in late.values() for run in np.split(numbers, np.where(np.diff(numbers) > 1)[0] + 1)]
    return {
        "faces_in_whole_frames": len(shares) + sum(runs), "missing": sum(runs), "missing_though_found_before": lost,
        "longest_missing_seconds": round(max(runs, default=0) / RATE, 2), "extra": extra,
        "intersection_over_union": {"median": round(float(np.median(shares)), 3), "least": round(min(shares), 3)},
        "same_emotion": round(float(np.mean(equal)), 4),
    }  # fmt: skip


def timed(clip, *options):
    """Frames/s of the command without its start, and the processor time that it took with it, seconds."""
    words, before = [sys.executable, "-m", "mien", "video", clip, *options, "--json"], os.times()
    ran = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(ran.stdout)["frames_a_second"], used


def speed(folder, rounds):
    """Frames/s and processor time of each clip, searched in each way, by round; and how the faces agree."""
    found = {}
    make_clip(folder / "start.mp4", 1, 1)
    start = min(timed(folder / "start.mp4")[1] for _ in range(rounds))
    for faces in (1, 4):
        clip, rates, used = folder / f"{faces}.mp4", {name: [] for name in INTERVALS}, {name: [] for name in INTERVALS}
        make_clip(clip, faces)
        for _ in range(rounds):
            for name, options in INTERVALS.items():
                rate, seconds = timed(clip, *options, "--csv", folder / f"{faces}_{name}.csv")
                rates[name].append(round(rate, 1))
                used[name].append(round(1000 * (seconds - start) / SPEED_FRAMES, 1))
        tables = [by_frame(folder / f"{faces}_{name}.csv") for name in INTERVALS]
        found[f"{faces} faces"] = {
            "frames_a_second": rates,
            "processor_milliseconds_a_frame": used,
            "agreement": agreement(*tables),
        }
    return found


def make_video(path, frames):
    face = cv2.resize(portrait(), (100, 120), interpolation=cv2.INTER_AREA)
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
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background would not hear Ctrl-C
    frames = round(options.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as name:
        load = [round(value, 1) for value in os.getloadavg()]
        fast = {"load_before": load, "clips": speed(Path(name), options.rounds)}
        fast["load_after"] = [round(value, 1) for value in os.getloadavg()]
        print(json.dumps(fast, indent=2), flush=True)
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
        "speed": {"size": SPEED_SIZE, "frames": SPEED_FRAMES, "rate": RATE, **fast},
        "options": " ".join(OPTIONS) + " --csv --annotate --plot --json", "video": video,
        "opencv": cv2.__version__,
        "whole": shortened(full), "resident_mb_by_quarter": parts,
        "grown_mb_last_to_first_quarter": round(parts[3]["mean"] - parts[0]["mean"], 1), "interrupted": shortened(half),
        "note": "the machine was shared with other work while this ran, so its times are not figures to quote",
    }  # fmt: skip
    write_report(report, options.out)


if __name__ == "__main__":
    main()
