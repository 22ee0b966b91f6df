"""YuNet's file: where it is searched for, and how it is downloaded on request."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal, overload

import platformdirs

from mien._utils.files import atomic
from mien.errors import ModelError

YUNET = "face_detection_yunet_2023mar.onnx"
YUNET_URL = f"https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/{YUNET}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_LIMIT = 10_000_000


@overload
def yunet_file(file: str | Path | None = None) -> Path: ...
@overload
def yunet_file(file: str | Path | None = None, *, missing_ok: Literal[True]) -> Path | None: ...
def yunet_file(file: str | Path | None = None, *, missing_ok: bool = False) -> Path | None:
    """YuNet's file: ``file``, else what ``MIEN_YUNET`` names, else what was fetched.

    Raises:
        ModelError: where it is absent (unless ``missing_ok``), or ``file`` is absent.
    """
    chosen = file or os.environ.get("MIEN_YUNET")
    path = Path(chosen) if chosen else _fetched()
    if path.is_file():
        return path
    if missing_ok and not chosen:
        return None
    raise ModelError("YuNet's file is not there", path, "Run: mien fetch-detector, or set MIEN_YUNET to the file.")


def fetch_yunet(url: str = YUNET_URL, sha256: str = YUNET_SHA256) -> Path:
    """Download YuNet's file (233 kB, MIT licence), check it, and keep it where :func:`yunet_file` finds it.

    Raises:
        ModelError: where it cannot be fetched, or is not the file that it should be.
    """
    mend = f"Download {YUNET} elsewhere and set MIEN_YUNET to it."
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data: bytes = answer.read(_LIMIT)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ModelError(f"YuNet could not be fetched ({error})", url, mend) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError("what was fetched is not YuNet's file (another SHA-256)", url, mend)
    with atomic(_fetched()) as temporary:
        temporary.write_bytes(data)
    return _fetched()


def _fetched() -> Path:
    return Path(os.environ.get("MIEN_CACHE") or platformdirs.user_cache_dir("mien")) / "detectors" / YUNET
