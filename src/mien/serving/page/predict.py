"""The tab Predict: images or the camera in, faces with boxes and bars out. No image is written to disk."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from mien.data.crops import crop_face
from mien.data.decoding import read_image
from mien.errors import ImageError
from mien.inference.predictor import Predictor
from mien.inference.results import Face, Prediction
from mien.inference.writers import columns, framed
from mien.serving.page.common import asset, refuse
from mien.serving.page.html import bars, data_uri, notice, picture

MOST_IMAGES = 20
"""How many images may come at once."""
MOST_BYTES = 14_000_000
"""How large they may be together, in bytes: in base64 they must fit the service's largest body, 20 MB by default."""
MOST_OPEN = 3
"""An image with more faces shows them as a grid whose bars open by a click."""
_SHOWN = 1280
_ONE_FACE = "Each image is one face"


@dataclass(frozen=True)
class Upload:
    """An image from the browser: its name, and the bytes of its file."""

    name: str
    data: bytes


def predict_tab(models: Mapping[str, Predictor]) -> None:
    """Lay out the tab and wire it."""
    names = list(models)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            drop = gr.HTML(asset("drop.html"), js_on_load=asset("drop.js"), elem_id="mien-drop", padding=False)
            model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)
            crops = gr.Checkbox(label=_ONE_FACE, info="Skips face detection: the whole image is the face.")
            least = gr.Slider(0, 1, 0, step=0.05, label="Report “uncertain” below this probability")
        with gr.Column(scale=3, min_width=300):
            result = gr.HTML(_empty(), elem_id="mien-result", padding=False)

    def answer(model: str, crops: bool, least: float, event: gr.EventData) -> str:
        with refuse():
            return show(models[model], read_uploads(event._data), crops, least)

    drop.submit(answer, [model, crops, least], result, api_visibility="private", trigger_mode="always_last")
    changed = [model.input, crops.input, least.input]
    gr.on(changed, None, js="() => document.dispatchEvent(new Event('mien-settings'))", api_visibility="private")


def _empty() -> str:
    return '<p class="mien-quiet mien-empty">Faces and their predicted expressions appear here.</p>'


def read_uploads(message: Any) -> list[Upload]:
    """The images in a browser's message: ``images``, each with a ``name`` and base64 ``data``.

    Raises:
        ImageError: where the message is not of this form, or its images are too many or too large.
    """
    found = message.get("images") if isinstance(message, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ImageError("the browser's message holds no images", mend="Load the page again.")
    if not 0 < len(found) <= MOST_IMAGES:
        raise ImageError(f"there are {len(found)} images", mend=f"Choose 1 to {MOST_IMAGES} at once.")
    if sum(len(str(one.get("data"))) for one in found) * 3 / 4 > MOST_BYTES + 1000:
        raise ImageError(f"the images are larger than {MOST_BYTES / 1e6:.0f} MB together", mend="Choose fewer at once.")
    try:
        return [Upload(str(one["name"])[:200], base64.b64decode(str(one["data"]), validate=True)) for one in found]
    except (KeyError, binascii.Error) as error:
        raise ImageError("the browser's message is damaged", mend="Load the page again.") from error


def show(predictor: Predictor, uploads: Sequence[Upload], crops: bool, least: float) -> str:
    """What a model predicts for images, as HTML.

    Args:
        predictor: the model.
        uploads: the images.
        crops: whether each is one face, so that none are detected.
        least: a face whose most probable class is less probable is "uncertain".
    """
    data = [one.data for one in uploads]
    predictions = predictor.crops(data) if crops else predictor.predict(data)
    found = [_renamed(one, upload.name, least) for one, upload in zip(predictions, uploads, strict=True)]
    faces = sum(len(one.faces) for one in found)
    head = f"{_count(faces, 'face')} in {_count(len(found), 'image')}"
    cards = (_card(upload, one, predictor.max_pixels) for upload, one in zip(uploads, found, strict=True))
    return (
        f'<div class="mien-top"><p role="status"><b>{head}</b></p>{_downloads(found, predictor.labels)}</div>'
        f"{''.join(cards)}"
    )


def _renamed(one: Prediction, name: str, least: float) -> Prediction:
    return replace(one, path=name, faces=tuple(replace(face, min_confidence=least) for face in one.faces))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _card(upload: Upload, one: Prediction, max_pixels: int) -> str:
    title = f"<h3>{escape(upload.name)}</h3>"
    if one.error is not None:
        return f'<article class="mien-card">{title}{notice(f"{upload.name}: {one.error}")}</article>'
    whole = read_image(upload.data, max_pixels=max_pixels)
    names = "; ".join(f"{face.emotion} {face.confidence:.0%}" for face in one.faces) or "no face found"
    shown = f'<img class="mien-photo" src="{_reduced(framed(whole, one))}" alt="{escape(upload.name)}: {names}">'
    across, down = whole.zoom
    faces, many = [], len(one.faces) > MOST_OPEN
    for place, face in enumerate(one.faces, 1):
        left, top, width, height = face.box
        box = (left / across, top / down, width / across, height / down)
        faces.append(_face(face, picture(crop_face(whole.pixels, box), f"Face {place}", "small"), place, many))
    none = notice(f"No face was detected. Is the image one face? Then check “{_ONE_FACE}”.") if not faces else ""
    rows = f'<div class="mien-faces{" many" if many else ""}">{"".join(faces)}</div>'
    return f'<article class="mien-card">{title}{shown}{none}{rows}</article>'


def _face(face: Face, image: str, place: int, many: bool) -> str:
    said = f"<b>{escape(face.emotion)}</b> {face.confidence:.0%}"
    if many:
        return f"<details><summary>{image}<span>{place}. {said}</span></summary>{bars(face.probabilities)}</details>"
    return (
        f'<section aria-label="Face {place}"><div class="mien-who">{image}<p>Face {place}<br>{said}</p></div>'
        f"{bars(face.probabilities)}</section>"
    )


def _reduced(image: Image.Image) -> str:
    image.thumbnail((_SHOWN, _SHOWN))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")


def _downloads(found: Sequence[Prediction], labels: Sequence[str]) -> str:
    files = (
        ("CSV", "mien.csv", "text/csv", to_csv(found, labels)),
        ("JSON", "mien.json", "application/json", to_json(found)),
    )
    links = (
        f'<a class="mien-plain" download="{name}" href="{data_uri(text.encode(), kind)}">Download {what}</a>'
        for what, name, kind, text in files
    )
    return f'<p class="mien-links">{"".join(links)}</p>'


def to_csv(found: Sequence[Prediction], labels: Sequence[str]) -> str:
    """Predictions as CSV, a row a face, with the columns of ``mien predict --csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(labels))
    writer.writeheader()
    for one in found:
        writer.writerows(one.to_rows(labels))
    return text.getvalue()


def to_json(found: Sequence[Prediction]) -> str:
    """Predictions as one JSON list."""
    return json.dumps([one.to_dict() for one in found], indent=2)
