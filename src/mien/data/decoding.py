"""Images of every kind -> upright RGB of bounded size, and faces of 48x48: the one decoder of data sets and prediction.

A file's size in pixels is checked before anything is decoded, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import math
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mien._utils.files import require_regular
from mien.data.crops import resize_face, to_gray
from mien.data.faces import SIDE
from mien.errors import DataError, ImageError


@runtime_checkable
class SupportsTensor(Protocol):
    """A tensor of PyTorch's, which this module does not import."""

    def detach(self) -> Any:
        """The tensor without its gradient."""
        ...

    def cpu(self) -> Any:
        """The tensor in the processor's memory."""
        ...


_Encoded = bytes | bytearray | memoryview
Source = str | Path | _Encoded | BinaryIO | NDArray[Any] | SupportsTensor | Image.Image | Callable[[], bytes]
"""What an image may come as; a function is called for an encoded file's bytes when its turn comes."""
Channels = Literal["rgb", "bgr"]
"""The order of an array's colours."""

MAX_PIXELS = 100_000_000
"""The largest image that is decoded by default, in pixels."""
MAX_SIDE = 2560
"""The longest side of an image in memory, in pixels; larger ones are reduced."""
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
    ".heic", ".heif", ".jp2", ".tga",
)  # fmt: skip
"""The suffixes of images, in lower case, in data sets and for prediction."""

PGM = f"P5\n{SIDE} {SIDE}\n255\n".encode()
"""The header of a 48x48 gray image in binary PGM."""

# Not all that Pillow reads: some of its formats run other programs or are drawings without pixels.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PILLOWS_LIMIT = 178_956_970
# Not ImageOps.exif_transpose, which turns an image before it is reduced, and raises where EXIF is damaged.
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
_END = b"\xff\xd9"
_ROUNDING = 1e-3
_opening = threading.Lock()


@dataclass(frozen=True)
class LoadedImage:
    """An upright image in memory.

    Attributes:
        pixels: RGB uint8 (H, W, 3), reduced as in :func:`read_image`.
        width: the upright original's, in pixels.
        height: the upright original's, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int

    @property
    def zoom(self) -> tuple[float, float]:
        """How many of the original's pixels make one pixel, across and down."""
        height, width = self.pixels.shape[:2]
        return self.width / width, self.height / height


def read_image(
    source: Source,
    channels: Channels = "rgb",
    max_pixels: int = MAX_PIXELS,
    max_zoom: float = math.inf,
    enough: float = math.inf,
) -> LoadedImage:
    """Read an image from a path, an encoded file's bytes, an array or a Pillow image.

    EXIF's rotation is undone, transparency laid over white, 16 bits brought to 8; of an animation the first frame is
    taken. An image whose longer side is above :data:`MAX_SIDE` is reduced to that.

    Args:
        source: a path; bytes of PNG, JPEG, WebP, BMP, GIF, TIFF, PPM or AVIF; an array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) of uint8, uint16, bool, integers from 0 to 255, or floats from 0 to 1 or from 0 to 255; a tensor
            (C, H, W) or (H, W) of the same; an open file; a Pillow image; or a function that gives bytes.
        channels: the order of an array's colours; files and Pillow images know their own.
        max_pixels: an image with more is refused before it is decoded.
        max_zoom: the most pixels of the original in a row that make one, at least 1.
        enough: a longer side, pixels: a JPEG is decoded at a half, a quarter or an eighth, which takes a fraction of
            the time, where it then still has as many.

    Raises:
        ImageError: where it is no image, only a part of one, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, channels, max_pixels, max_zoom)
    if isinstance(source, Image.Image):
        return _guarded(source, max_pixels, max_zoom, enough)
    if isinstance(source, SupportsTensor):
        return _from_array(_channels_last(source.detach().cpu().numpy()), channels, max_pixels, max_zoom)
    if isinstance(source, bytes | bytearray | memoryview) or callable(source) or hasattr(source, "read"):
        return _from_bytes(_contents(source), max_pixels, max_zoom, enough)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"a {type(source).__name__} is no image", mend="Give a path, bytes, an open file, an array or a PIL image."
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(source)):
        mend = "Fetch it and give its bytes, or use mien predict --allow-urls."
        raise ImageError("a URL is not a file, and nothing is downloaded unless allowed", source, mend)
    try:
        require_regular(Path(source))
        return _from_bytes(Path(source).read_bytes(), max_pixels, max_zoom, enough)
    except DataError as error:
        raise ImageError(error.what, source, error.mend) from error
    except OSError as error:
        raise ImageError(error.strerror or str(error), source) from error
    except ValueError as error:  # a zero byte in the path
        raise ImageError(str(error), repr(source)) from error
    except ImageError as error:
        raise ImageError(error.what, source, error.mend) from error


def decode(data: bytes) -> NDArray[np.uint8]:
    """Read an encoded image as a face: what prediction makes of it where the whole image is the face.

    Returns:
        uint8 (48, 48), gray.

    Raises:
        ValueError: where the bytes are no image, or only a part of one.
    """
    return resize_face(decode_gray(data))


def decode_gray(data: bytes) -> NDArray[np.uint8]:
    """Read an encoded image as gray, uint8 (H, W).

    Raises:
        ValueError: where the bytes are no image, or only a part of one.
    """
    gray = _decode_fast(data)
    if gray is not None:
        return gray
    try:
        return to_gray(_from_bytes(data, MAX_PIXELS).pixels)
    except ImageError as error:
        raise ValueError(error.what if error.mend is None else f"{error.what}. {error.mend}") from error


def _decode_fast(data: bytes) -> NDArray[np.uint8] | None:
    """Gray from the formats in which FER2013 is exchanged, three times as fast as Pillow and with the same values."""
    if data[: len(PGM)] == PGM and len(data) == len(PGM) + SIDE * SIDE:
        return np.frombuffer(data, np.uint8, offset=len(PGM)).reshape(SIDE, SIDE)
    gray_png = data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x08\x00" and data[-8:-4] == b"IEND"
    plain_png = gray_png and not any(chunk in data for chunk in (b"tRNS", b"eXIf"))
    whole_webp = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data)
    plain_webp = whole_webp and data[8:16] == b"WEBPVP8L" and len(data) > 25 and not data[24] & 0x10  # no alpha
    if not (plain_png or plain_webp):
        return None
    try:
        return cast("NDArray[np.uint8] | None", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    except cv2.error:
        return None


def _contents(source: Any) -> bytes:
    data = source() if callable(source) else source.read() if hasattr(source, "read") else source
    if not isinstance(data, _Encoded):
        raise ImageError("the file is open as text", mend="Open it in binary mode.")
    return bytes(data)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """A tensor's (C, H, W) as (H, W, C)."""
    return np.moveaxis(array, 0, -1) if array.ndim == 3 and array.shape[0] in (1, 3, 4) else array


def _from_bytes(data: bytes, max_pixels: int, max_zoom: float = math.inf, enough: float = math.inf) -> LoadedImage:
    if not data:
        raise ImageError("the file is empty")
    # Pillow warns of large images as it opens them; here they are refused, or explicitly allowed.
    with _damage_refused(max_pixels), _opening, warnings.catch_warnings(), _pillow_limit(max_pixels):
        warnings.simplefilter("ignore")
        image = _open(data)
    with image:
        try:
            return _guarded(image, max_pixels, max_zoom, enough)
        except ImageError:
            if image.format not in ("JPEG", "MPO") or not _lacks_only_its_end(data):
                raise
    return _from_bytes(data + _END, max_pixels, max_zoom, enough)


@contextmanager
def _damage_refused(max_pixels: int) -> Iterator[None]:
    """Make an ImageError of whatever Pillow's decoders raise."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageError("it is not a readable image (unknown format)") from error
    except Image.DecompressionBombError as error:
        raise _too_large(f"more than {_PILLOWS_LIMIT:,}", max_pixels) from error
    except (OSError, *_DAMAGE) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"it is not a readable image ({reason[:200]})") from error


def _open(data: bytes) -> Image.Image:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise ImageError("HEIC needs the package pillow-heif", mend="Run: pip install 'mien[heif]'") from error
        return cast("Image.Image", HeifImageFile(io.BytesIO(data)))  # type: ignore[no-untyped-call]
    return Image.open(io.BytesIO(data), formats=_formats())


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow open what the caller allows, where that is more than its own limit."""
    before = Image.MAX_IMAGE_PIXELS
    if before is not None and max_pixels > 2 * before:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _lacks_only_its_end(data: bytes) -> bool:
    """Whether a JPEG that does not decode has all its pixels: bytes that follow them then change nothing."""
    if data.endswith(_END):
        return False
    try:
        first, second = (_jpeg_pixels(data.rstrip(b"\xff") + filler + _END) for filler in (b"", bytes([0x55]) * 64))
    except (OSError, *_DAMAGE):
        return False
    return np.array_equal(first, second)


def _jpeg_pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB"))


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _guarded(image: Image.Image, max_pixels: int, max_zoom: float, enough: float = math.inf) -> LoadedImage:
    """Decode an opened image of a size that is allowed."""
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height}, {width * height:,}", max_pixels)
    if not width or not height:
        raise ImageError("it has no pixels")
    with _damage_refused(max_pixels):
        return _decoded(image, max_zoom, enough)


def _too_large(size: str, max_pixels: int) -> ImageError:
    what = f"it has too many pixels ({size}; the limit is {max_pixels:,})"
    return ImageError(what, mend="Reduce it, or raise the limit.")


def _decoded(image: Image.Image, max_zoom: float, enough: float) -> LoadedImage:
    width, height = image.size
    side = max(MAX_SIDE, math.ceil(max(width, height) / max(1.0, max_zoom)))
    if (spare := max(width, height) / min(side, enough)) > 1:
        image.draft(None, (math.ceil(width / spare), math.ceil(height / spare)))  # JPEG's decoder can reduce
    stored = image.size
    image.load()
    if image.size != stored:  # some of Pillow's decoders turn the image themselves
        width, height = height, width
    colour = _to_rgb(image)
    if max(colour.size) > side:
        colour.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, *_DAMAGE):  # damaged: the image is taken as it is
        orientation = 1
    if orientation in _TURNS:
        colour = colour.transpose(_TURNS[orientation])
        width, height = (height, width) if orientation > 4 else (width, height)
    return LoadedImage(np.asarray(colour), width, height)


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


def _from_array(array: NDArray[Any], channels: Channels, max_pixels: int, max_zoom: float) -> LoadedImage:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not fits or 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is no image", mend="Give (H, W), (H, W, 3) or (H, W, 4).")
    if channels not in ("rgb", "bgr"):
        raise ImageError(f"there is no channel order {channels!r}", mend="Use 'rgb' or 'bgr'.")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large(f"{array.shape[1]}x{array.shape[0]}", max_pixels)
    pixels = _array_to_bytes(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if channels == "bgr" and pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    if pixels.ndim == 3 and pixels.shape[2] == 3 and max(pixels.shape) <= MAX_SIDE:
        return LoadedImage(np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0])
    return _guarded(Image.fromarray(np.ascontiguousarray(pixels)), max_pixels, max_zoom)


def _array_to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array // 256).astype(np.uint8)
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.kind in "iuf" and array.min() >= -_ROUNDING and array.max() <= 255 * (1 + _ROUNDING):
        scale = 255 if array.dtype.kind == "f" and array.max() <= 1 + _ROUNDING else 1
        return cast("NDArray[np.uint8]", np.rint(np.clip(array * scale, 0, 255)).astype(np.uint8))
    what = f"an array of {array.dtype} with values outside of 0 to 255 is no image"
    raise ImageError(what, mend="Give uint8, uint16, bool, floats from 0 to 1, or values from 0 to 255.")
