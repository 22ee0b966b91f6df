"""The cache: what a slow reader made of a source, kept as one safetensors file named after the source's content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mien._utils.files import atomic
from mien.data.faces import Faces

VERSION = 4
"""Raise it when a reader would make other faces of the same bytes."""

_SMALL = 1 << 20
_REQUIRED = ("images", "emotion", "usage", "row")
_LINES = ("labels", "skipped", "resized", "notes")


def cache_folder() -> Path:
    """``faces`` in the folder that MIEN_CACHE names, or in the user's cache folder."""
    return Path(os.environ.get("MIEN_CACHE") or platformdirs.user_cache_dir("mien")) / "faces"


def content_key(files: Sequence[Path], root: Path, *traits: object) -> str:
    """SHA-256 (hex) of the files' bytes and their names below ``root``, and of whatever else the result hangs on."""
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
    """The faces kept under ``key``, or None where there are none or the file is damaged."""
    try:
        with safe_open(cache_folder() / f"{key}.safetensors", framework="numpy") as file:
            note = json.loads((file.metadata() or {})["mien"])
            arrays = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118
        if note["checksum"] != _checksum(arrays, *(note[line] for line in _LINES)):
            return None
        labels, skipped, resized, notes = (tuple(note[line]) for line in _LINES)
        return replace(_to_faces(arrays, name), labels=labels, skipped=skipped, resized=resized, notes=notes)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def write_cache(key: str, faces: Faces) -> None:
    """Keep the faces under ``key``; a folder that cannot be written only means that the next load is slow again."""
    arrays: dict[str, NDArray[Any]] = {tensor: getattr(faces, tensor) for tensor in _REQUIRED}
    if faces.votes is not None:
        arrays["votes"] = faces.votes
    arrays = {tensor: np.ascontiguousarray(array) for tensor, array in arrays.items()}
    lines = {line: getattr(faces, line) for line in _LINES}
    note = lines | {"checksum": _checksum(arrays, *lines.values())}
    try:
        with atomic(cache_folder() / f"{key}.safetensors") as path:
            save_file(arrays, path, {"mien": json.dumps(note)})
    except (OSError, SafetensorError):
        return


def _to_faces(arrays: dict[str, NDArray[Any]], name: str) -> Faces:
    return Faces(
        images=arrays["images"].astype(np.uint8, copy=False),
        emotion=arrays["emotion"].astype(np.int64, copy=False),
        usage=arrays["usage"].astype(np.uint8, copy=False),
        row=arrays["row"].astype(np.int64, copy=False),
        votes=arrays["votes"].astype(np.uint8, copy=False) if "votes" in arrays else None,
        name=name,
    )


def _checksum(arrays: dict[str, NDArray[Any]], *lines: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(lines).encode())
    for tensor in sorted(arrays):
        digest.update(f"{tensor} {arrays[tensor].dtype} {arrays[tensor].shape}".encode())
        digest.update(arrays[tensor].data)
    return digest.hexdigest()
