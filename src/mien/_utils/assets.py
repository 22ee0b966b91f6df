"""The data files that come with the package, and a check that they are as they were packaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mien.errors import AssetError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
"""Their folder."""
IMAGENET, FERPLUS_VOTES = "mobilenet_imagenet.safetensors", "ferplus_votes.npz"
CHECKSUMS = {
    IMAGENET: "f611f589caaaa48ab0206a2237209d0a879dd86b4bfcd7b1dd854f048d47ec73",
    FERPLUS_VOTES: "a881310e8852b057b09547967a5057d0b3e3bef76b0312b3ee7625370e1be7cf",
}
"""SHA-256 (hex) of the files that have no checksum of their own."""


def read_asset(name: str) -> bytes:
    """The bytes of one of :data:`CHECKSUMS`.

    Raises:
        AssetError: where the file is missing, cut short or altered.
    """
    path = ASSETS / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AssetError(f"this file of the package cannot be read ({error.strerror})", path, _MEND) from error
    if hashlib.sha256(data).hexdigest() != CHECKSUMS[name]:
        what = f"this file of the package is damaged: its {len(data):,} bytes do not have the expected SHA-256"
        raise AssetError(what, path, _MEND)
    return data


_MEND = "Install mien again: pip install --force-reinstall --no-deps mien."
