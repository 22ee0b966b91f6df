"""Pictures of every kind -> upright RGB of bounded size.

A file's size in pixels is checked before anything is decoded, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mien.data.readers.images import resize_face
from mien.errors import ImageError

Source = str | Path | bytes | NDArray[Any] | Image.Image | Callable[[], bytes]
"""What a picture may come as; a function is called for an encoded file's bytes when its turn comes."""
Channels = Literal["rgb", "bgr"]
"""The order of an array's colours."""

MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, in pixels, where no other limit is given."""
MAX_SIDE = 2560
"""The longest side of a picture in memory, in pixels; larger ones are reduced."""
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"
)  # fmt: skip
"""How the names of pictures end, in lower case."""

# Not all that Pillow reads: some of its formats run other programs or are drawings without pixels.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
_PILLOWS_LIMIT = 178_956_970
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders and its readers of EXIF raise on damaged files, besides OSError, as mutated files show.
_DAMAGE = (
    SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, RuntimeError,
    ZeroDivisionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_opening = threading.Lock()


@dataclass(frozen=True)
class LoadedImage:
    """An upright picture in memory.

    Attributes:
        pixels: RGB uint8 (H, W, 3), reduced where the original's longer side is above :data:`MAX_SIDE`.
        width: the upright original's, in pixels.
        height: the upright original's, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int

    @property
    def zoom(self) -> tuple[float, float]:
        """How many of the original's pixels one pixel stands for, across and down."""
        height, width = self.pixels.shape[:2]
        return self.width / width, self.height / height


def read_image(source: Source, channels: Channels = "rgb", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Read a picture from a path, an encoded file's bytes, an array or a Pillow image.

    EXIF's rotation is undone, transparency laid over white, 16 bits brought to 8; of an animation the first frame is
    taken.

    Args:
        source: a path; bytes of PNG, JPEG, WebP, BMP, GIF, TIFF, PPM or AVIF; an array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) of uint8, uint16, bool, or floats from 0 to 1; a Pillow image; or a function that gives bytes.
        channels: the order of an array's colours; files and Pillow images know their own.
        max_pixels: a picture with more is refused before it is decoded.

    Raises:
        ImageError: where it is no picture, only a part of one, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, channels, max_pixels)
    if isinstance(source, Image.Image):
        return _guarded(source, max_pixels)
    if isinstance(source, bytes):
        return _from_bytes(source, max_pixels)
    if callable(source):
        return _from_bytes(source(), max_pixels)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"a {type(source).__name__} is no picture", mend="Give a path, bytes, an array or a PIL image."
        )
    try:
        return _from_bytes(Path(source).read_bytes(), max_pixels)
    except OSError as error:
        raise ImageError(error.strerror or str(error), source) from error
    except ValueError as error:  # a zero byte in the path
        raise ImageError(str(error), repr(source)) from error
    except ImageError as error:
        raise ImageError(error.what, source, error.mend) from error


def to_gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) to gray uint8 (H, W); gray pixels keep their value exactly."""
    return cast("NDArray[np.uint8]", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def crop_face(pixels: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """The face in a box as the network wants it; what lies outside of the picture repeats its edge.

    Args:
        pixels: RGB uint8 (H, W, 3).
        box: left, top, width and height in pixels; may reach beyond the picture.

    Returns:
        gray uint8 (48, 48).
    """
    height, width = pixels.shape[:2]
    left, top = round(box[0]), round(box[1])
    right, bottom = max(left + 1, round(box[0] + box[2])), max(top + 1, round(box[1] + box[3]))
    x0, x1 = np.clip((left, right), 0, width)
    y0, y1 = np.clip((top, bottom), 0, height)
    # A box wholly outside would leave nothing to repeat.
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    inside = to_gray(pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    beyond = ((max(0, y0 - top), max(0, bottom - y1)), (max(0, x0 - left), max(0, right - x1)))
    return resize_face(np.pad(inside, beyond, mode="edge"))


def _from_bytes(data: bytes, max_pixels: int) -> LoadedImage:
    if not data:
        raise ImageError("the file is empty")
    # Pillow warns of large pictures as it opens them; here they are refused, or were asked for.
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise ImageError("it is not a readable image (unknown format)") from error
    except Image.DecompressionBombError as error:
        raise _too_large(f"more than {_PILLOWS_LIMIT:,}", max_pixels) from error
    except (OSError, *_DAMAGE) as error:
        raise _unreadable(error) from error
    with image:
        return _guarded(image, max_pixels)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _guarded(image: Image.Image, max_pixels: int) -> LoadedImage:
    """Decode an opened image, whatever its decoder stumbles over."""
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height}, {width * height:,}", max_pixels)
    if not width or not height:
        raise ImageError("it has no pixels")
    try:
        return _decoded(image)
    except Image.DecompressionBombError as error:
        raise _too_large(f"more than {_PILLOWS_LIMIT:,}", max_pixels) from error
    except (OSError, *_DAMAGE) as error:
        raise _unreadable(error) from error


def _too_large(size: str, max_pixels: int) -> ImageError:
    what = f"it has too many pixels ({size}; the limit is {max_pixels:,})"
    return ImageError(what, mend="Reduce it, or raise the limit.")


def _unreadable(error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"it is not a readable image ({reason[:200]})")


def _decoded(image: Image.Image) -> LoadedImage:
    width, height = image.size
    turn = _TURNS.get(_orientation(image))
    if max(width, height) > MAX_SIDE:
        image.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG's decoder can reduce as it reads
    colour = _to_rgb(image)
    if max(colour.size) > MAX_SIDE:
        colour.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if turn is not None:
        colour = colour.transpose(turn)
        if turn in (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]):
            width, height = height, width
    return LoadedImage(np.asarray(colour), width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none or it is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, *_DAMAGE):
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(deep: NDArray[Any]) -> NDArray[np.uint8]:
    """Gray of more bits to 8: 16 bits keep their high byte; what has another range is stretched to 0 to 255."""
    if deep.dtype.kind == "u" or (deep.dtype.kind == "i" and deep.min() >= 0 and deep.max() <= 65535):
        return (deep // 256).astype(np.uint8)
    values = np.nan_to_num(deep.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _from_array(array: NDArray[Any], channels: Channels, max_pixels: int) -> LoadedImage:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not fits or 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is no picture", mend="Give (H, W), (H, W, 3) or (H, W, 4).")
    if channels not in ("rgb", "bgr"):
        raise ImageError(f"no order of colours {channels!r}", mend="Say 'rgb' or 'bgr'.")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large(f"{array.shape[1]}x{array.shape[0]}", max_pixels)
    pixels = _array_to_bytes(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if channels == "bgr" and pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    if pixels.ndim == 3 and pixels.shape[2] == 3 and max(pixels.shape) <= MAX_SIDE:
        return LoadedImage(np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0])
    return _guarded(Image.fromarray(np.ascontiguousarray(pixels)), max_pixels)


def _array_to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array // 256).astype(np.uint8)
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return cast("NDArray[np.uint8]", np.rint(array * 255).astype(np.uint8))
    raise ImageError(
        f"an array of {array.dtype} is no picture", mend="Give uint8, uint16, bool, or floats from 0 to 1."
    )
