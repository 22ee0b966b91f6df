"""The boxes of MP4 and QuickTime files: what part of a video an edit list shows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_LARGEST = 64_000_000  # bytes of an index that is read: that of days of video


def shown_part(path: Path) -> tuple[float, float] | None:
    """The seconds of a file's first video track that are shown, and those that it holds.

    None where all are shown, or it is no MP4.
    """
    with path.open("rb") as file:
        index = _find(file, b"moov")
    try:
        for track in (body for name, body in _boxes(BytesIO(index)) if name == b"trak"):
            media = _find(BytesIO(track), b"mdia")
            if _find(BytesIO(media), b"hdlr")[8:12] == b"vide":
                shown = _seconds(_find(BytesIO(track), b"tkhd"), _scale(_find(BytesIO(index), b"mvhd"))[0], 20, 28)
                ticks, held = _scale(_find(BytesIO(media), b"mdhd"))
                return (shown, held / ticks) if 0 < shown < held / ticks - 0.01 else None
    except (struct.error, ZeroDivisionError):  # damaged
        return None
    return None


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents, in order; what is too large to be an index is left out."""
    while len(head := file.read(8)) == 8:
        size, name, long = int.from_bytes(head[:4], "big"), head[4:], 8
        if size == 1:
            size, long = int.from_bytes(file.read(8), "big"), 16
        if size < long:
            return
        if size > _LARGEST or name == b"mdat":
            file.seek(size - long, 1)
        else:
            yield name, file.read(size - long)


def _find(file: BinaryIO, sought: bytes) -> bytes:
    return next((body for name, body in _boxes(file) if name == sought), b"")


def _scale(header: bytes) -> tuple[int, int]:
    """Ticks a second, and the duration in them, of ``mvhd`` or ``mdhd``."""
    ticks, duration = (
        struct.unpack_from(">IQ", header, 20) if header[:1] == b"\1" else struct.unpack_from(">II", header, 12)
    )
    return ticks, duration


def _seconds(header: bytes, ticks: int, short: int, long: int) -> float:
    """A ``tkhd``'s duration, with its edits."""
    (duration,) = (
        struct.unpack_from(">Q", header, long) if header[:1] == b"\1" else struct.unpack_from(">I", header, short)
    )
    return float(duration) / ticks
