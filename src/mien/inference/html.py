"""A prediction as HTML, for notebooks: the image with boxes, and each face's probabilities as bars."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from mien.data.decoding import Source, read_image
from mien.emotions import class_color
from mien.errors import ImageError, printable
from mien.inference.writers import with_boxes

if TYPE_CHECKING:
    from mien.inference.results import Face, Prediction

_SIDE = 480


def to_html(prediction: Prediction) -> str:
    """The prediction as one element of HTML, without scripts or files of its own.

    The image is shown where it can still be read, at most 480 pixels wide and high.
    """
    title = escape(printable(prediction.path))
    if prediction.error is not None:
        return f"<div><b>{title}</b>: {escape(prediction.error)}</div>"
    faces = "".join(_bars(face, place) for place, face in enumerate(prediction.faces, start=1)) or "<p>no face</p>"
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">'
        f"<figure style='margin:0'>{_image(prediction)}<figcaption>{title}</figcaption></figure>"
        f"<div style='display:flex;flex-wrap:wrap;gap:16px'>{faces}</div></div>"
    )


def _image(prediction: Prediction) -> str:
    source: Source = prediction.path if prediction.source is None else prediction.source
    try:
        image = with_boxes(read_image(source, prediction.channels), prediction)
    except ImageError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(repr(prediction), quote=True)}" src="data:image/jpeg;base64,{data}">'


def _bars(face: Face, place: int) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td style='width:160px'><div style='height:10px;width:{share:.1%};"
        f"background:{class_color(name, number)}'></div></td><td>{share:.1%}</td></tr>"
        for number, (name, share) in enumerate(face.probabilities.items())
    )
    return f"<table><caption>Face {place}: <b>{escape(face.emotion)}</b></caption><tbody>{rows}</tbody></table>"
