"""Find a model by its name, file or run folder, and read it."""

from __future__ import annotations

from pathlib import Path

from mien._utils.assets import ASSETS
from mien.errors import ModelError
from mien.models.bundle import BEST, ONNX_SUFFIX, SUFFIX, Bundle, read_bundle
from mien.models.onnx.exported_file import read_exported

DEFAULT = "best"
"""The default model."""


def shipped_models() -> list[str]:
    """The shipped models' names."""
    return sorted(path.stem for path in ASSETS.glob(f"*{SUFFIX}"))


def find_bundle(model: str | Path) -> Path:
    """The file of a model: a shipped model's name, a file, or a run folder, meaning its best bundle.

    Raises:
        ModelError: where there is none.
    """
    path = Path(model)
    if str(model) in shipped_models() and not path.exists():
        return ASSETS / f"{model}{SUFFIX}"
    if path.is_dir():
        if not (path / BEST).is_file():
            raise ModelError(f"this folder holds no {BEST}", path, "Name a bundle, or the folder of a finished run.")
        return path / BEST
    if not path.is_file():
        names = ", ".join(shipped_models())
        raise ModelError("no such model", path, f"Name a {SUFFIX} file, the folder of a run, or one of {names}.")
    return path


def load_bundle(model: str | Path) -> Bundle:
    """Read a model: a bundle, or an ONNX file that mien exported.

    Raises:
        ModelError: where the file is no model of mien's, is damaged, or its parts do not belong together.
    """
    path = find_bundle(model)
    return read_exported(path) if path.suffix.lower() == ONNX_SUFFIX else read_bundle(path)
