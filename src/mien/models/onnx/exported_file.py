"""An ONNX file that mien exported, read back: its metadata hold what a bundle's card holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.errors import ModelError
from mien.models.bundle import Bundle, Card, checked_card
from mien.models.onnx.checksum import is_corrupt
from mien.models.onnx.runtime import onnxruntime
from mien.models.onnx.session import open_graph

CARD_KEYS = ("labels", "network", "preprocessing", "calibration", "provenance")
"""The metadata that make a card, each of them JSON; ``name`` is plain."""
FOREIGN = "Name an ONNX file that mien export wrote, or the bundle itself."


def read_exported(path: Path) -> Bundle:
    """Read a standalone ONNX file that mien wrote, fp32 or int8, as a bundle whose weights stay inside its graph.

    Raises:
        ModelError: where it is no ONNX file, is damaged, or was not exported by mien.
    """
    data = path.read_bytes()
    if is_corrupt(data):
        raise ModelError("a damaged file: its checksum does not fit", path, "Copy or export it again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    notes = open_graph(data, options, path).get_modelmeta().custom_metadata_map
    try:
        card, stored = _card(notes, path), int(notes["parameters"])
    except KeyError as error:
        raise ModelError(f"not a model that mien exported: its metadata lack {error}", path, FOREIGN) from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"its metadata are unreadable ({error})", path, FOREIGN) from error
    return Bundle(card, {}, data, hashlib.sha256(data).hexdigest(), path, stored)


def _card(notes: Mapping[str, str], path: Path) -> Card:
    settings: dict[str, Any] = {key: json.loads(notes[key]) for key in CARD_KEYS}
    how = dict(settings["preprocessing"])
    stated = (how.pop("factor", None), how.pop("offset", None))
    origin = {"bundle_sha256": notes["bundle_sha256"], "export": json.loads(notes.get("export", "null"))}
    settings |= {"name": notes["name"], "preprocessing": how, "provenance": settings["provenance"] | origin}
    card = checked_card(settings, "its metadata", path)
    if stated != card.preprocessing.factor_offset:
        raise ModelError(f"its factor and offset {stated} are not those of its preprocessing", path, FOREIGN)
    return card
