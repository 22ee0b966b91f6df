"""What ran where: versions and hardware, for bundles and results."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("mien", "torch", "lightning", "onnxruntime", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Versions (of the packages that are installed) and hardware, ready for JSON and YAML."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "hardware": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()}}


def cpu_name() -> str:
    """The processor's name, as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
