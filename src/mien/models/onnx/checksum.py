"""A checksum inside an ONNX file: a flipped bit in a weight would run, and answer wrongly, without a word.

The file's metadata hold, under ``checksum``, the SHA-256 (hex) of the whole file as it is with zeros in the sum's
place.
"""

from __future__ import annotations

import hashlib

KEY = "checksum"
BLANK = "0" * 64
"""The placeholder while the checksum is computed."""

_BEFORE = b"\x0a" + bytes([len(KEY)]) + KEY.encode() + b"\x12" + bytes([len(BLANK)])
"""What protobuf writes before the sum: field 1 with the key, then field 2 with its length."""


def with_checksum(data: bytes) -> bytes:
    """Write the sum into an ONNX file's bytes, whose metadata hold :data:`BLANK` under :data:`KEY`."""
    start = _place(data)
    if start is None:
        raise ValueError("the metadata have no checksum field")
    return data[:start] + _sum(data, start) + data[start + len(BLANK) :]


def is_corrupt(data: bytes) -> bool:
    """Whether a file has changed since its checksum was written; False where it has none."""
    start = _place(data)
    return start is not None and data[start : start + len(BLANK)] != _sum(data, start)


def _place(data: bytes) -> int | None:
    found = data.rfind(_BEFORE)  # metadata follow the graph, as protobuf writes fields by number
    return None if found < 0 or found + len(_BEFORE) + len(BLANK) > len(data) else found + len(_BEFORE)


def _sum(data: bytes, start: int) -> bytes:
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(BLANK.encode())
    digest.update(memoryview(data)[start + len(BLANK) :])
    return digest.hexdigest().encode()
