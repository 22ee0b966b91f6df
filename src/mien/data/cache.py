"""The cache: what a slow reader made of a source, as one safetensors file named after the source's content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mien._utils.files import atomic
from mien.data.faces import Faces

VERSION = 6
"""Raise it when a reader would make other faces of the same bytes."""

_SMALL = 1 << 20
_ARRAYS = ("images", "emotion", "usage", "row", "votes")
_LINES = ("labels", "skipped", "resized", "notes")


def cache_folder() -> Path:
    """``faces`` in the folder MIEN_CACHE, or in the user's cache folder."""
    return Path(os.environ.get("MIEN_CACHE") or platformdirs.user_cache_dir("mien")) / "faces"


def content_key(files: Sequence[Path], root: Path, *traits: object) -> str:
    """SHA-256 (hex) of the files' bytes and their names below ``root``, and of whatever else the result depends on."""
    digest = hashlib.sha256(repr((VERSION, *traits)).encode())
    for path in files:
        name = os.fsencode(path.name if path == root else str(path).removeprefix(str(root)))
        content = _file_digest(path)
        digest.update(b"%d:%s:" % (len(name), name))
        digest.update(content)
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size < _SMALL:  # file_digest's setup would cost more than the hashing itself
            return hashlib.sha256(file.readall()).digest()
        return hashlib.file_digest(file, "sha256").digest()


def read_cache(key: str, name: str) -> Faces | None:
    """The faces under ``key``, or None where there are none or the file is damaged."""
    try:
        with safe_open(cache_folder() / f"{key}.safetensors", framework="numpy") as file:
            note = json.loads((file.metadata() or {})["mien"])
            arrays: dict[str, Any] = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118
        lines: dict[str, Any] = {line: tuple(note[line]) for line in _LINES}
        return Faces(**arrays, name=name, **lines) if note["checksum"] == _checksum(arrays, lines) else None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def write_cache(key: str, faces: Faces) -> None:
    """Save the faces under ``key``; a folder that cannot be written only means that the next load is slow, too."""
    found = {name: getattr(faces, name) for name in _ARRAYS}
    arrays = {name: np.ascontiguousarray(array) for name, array in found.items() if array is not None}
    lines = {line: getattr(faces, line) for line in _LINES}
    note = lines | {"checksum": _checksum(arrays, lines)}
    try:
        with atomic(cache_folder() / f"{key}.safetensors") as path:
            save_file(arrays, path, {"mien": json.dumps(note)})
    except (OSError, SafetensorError):
        return


def _checksum(arrays: dict[str, NDArray[Any]], lines: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(list(lines.values())).encode())
    for tensor in sorted(arrays):
        digest.update(f"{tensor} {arrays[tensor].dtype} {arrays[tensor].shape}".encode())
        digest.update(arrays[tensor].data)
    return digest.hexdigest()
