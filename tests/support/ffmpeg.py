"""Videos that only FFmpeg can make: sound, frame rates that vary, pixels that are not square, edit lists."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def made_by_ffmpeg(path: Path, *options: object) -> Path:
    """Run ffmpeg with some options; gives the file that it wrote. Skips the test where there is none."""
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        pytest.skip("no ffmpeg and ffprobe on the PATH")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, options), str(path)], check=True, capture_output=True)
    return path


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe says of a file: its length and frames' times in seconds, and its streams."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_frames", str(path)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    times = [float(one["pts_time"]) for one in said["frames"] if one["media_type"] == "video"]
    streams = {one["codec_type"]: one for one in said["streams"]}
    return {"seconds": float(said["format"]["duration"]), "times": times, **streams}
