"""Pictures of every kind become upright RGB, and what is none is refused with its reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.data.crops import crop_face
from mien.data.decoding import MAX_SIDE, read_image
from mien.errors import ImageError

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


PNG = encode(Image.fromarray(COLOUR), "PNG")


def smooth(width: int = 30, height: int = 20) -> Image.Image:
    """A picture that lossy formats keep well, red on the left, green below."""
    across, down = np.meshgrid(np.linspace(255, 0, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.full_like(down, 90)], -1).astype(np.uint8))


def test_a_path_bytes_an_array_and_a_pillow_image_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    for source in (path, str(path), PNG, COLOUR, Image.open(path), lambda: PNG):
        picture = read_image(source)
        np.testing.assert_array_equal(picture.pixels, COLOUR)
        assert (picture.width, picture.height, picture.zoom) == (30, 20, (1.0, 1.0))
    np.testing.assert_array_equal(read_image(COLOUR[..., ::-1], channels="bgr").pixels, COLOUR)
    np.testing.assert_array_equal(read_image(PNG, channels="bgr").pixels, COLOUR)  # files know their order


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation: int) -> None:
    """The marks in the corners of the upright picture tell all eight apart."""
    upright = smooth(40, 24)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_image(encode(stored, "JPEG", quality=95, exif=exif))
    assert (picture.width, picture.height) == (40, 24)
    assert np.abs(picture.pixels.astype(int) - np.asarray(upright)).mean() < 6


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    picture = read_image(encode(smooth(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"))
    assert picture.pixels.shape == (20, 30, 3)


def test_transparency_is_laid_over_white() -> None:
    layer = np.dstack([COLOUR, np.full((20, 30), 255, np.uint8)])
    layer[:10, :, 3] = 0
    for picture in (read_image(encode(Image.fromarray(layer), "PNG")), read_image(layer)):
        assert (picture.pixels[:10] == 255).all()
        np.testing.assert_array_equal(picture.pixels[10:], COLOUR[10:])
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    assert (read_image(encode(palette, "PNG", transparency=0)).pixels == 255).all()


def test_sixteen_bits_keep_their_high_byte() -> None:
    deep = COLOUR[..., 0].astype(np.uint16) * 256 + 77
    for source in (encode(Image.fromarray(deep), "PNG"), encode(Image.fromarray(deep), "TIFF"), deep):
        np.testing.assert_array_equal(read_image(source).pixels, np.repeat(COLOUR[..., :1], 3, 2))


def test_other_depths_are_brought_to_eight_bits() -> None:
    ramp = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    for source in (ramp, encode(Image.fromarray(ramp), "TIFF"), encode(Image.fromarray(ramp * 9 - 4), "TIFF")):
        found = read_image(source).pixels[..., 0]
        assert np.abs(found - 255 * ramp).max() <= 1
    assert read_image(np.eye(4, dtype=bool)).pixels[..., 0].tolist() == (255 * np.eye(4, dtype=int)).tolist()


@pytest.mark.parametrize(
    ("form", "mode", "tolerance"),
    [
        ("PNG", "L", 0), ("PNG", "P", 40), ("PNG", "1", 128), ("PNG", "LA", 0), ("JPEG", "CMYK", 8), ("JPEG", "L", 8),
        ("WEBP", "RGB", 12), ("BMP", "RGB", 0), ("GIF", "P", 40), ("TIFF", "CMYK", 8), ("TIFF", "RGB", 0),
        ("PPM", "RGB", 0),
    ],
)  # fmt: skip
def test_every_format_and_mode(form: str, mode: str, tolerance: int) -> None:
    image = smooth()
    gray = mode in ("L", "LA", "1")
    expected = np.asarray(image.convert("L").convert("RGB") if gray else image).astype(int)
    found = read_image(encode(image.convert(mode), form))
    assert np.abs(found.pixels - expected).mean() <= tolerance


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(read_image(data).pixels.astype(int) - (255, 0, 0)).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_part_of_a_file_is_refused(form: str, part: float) -> None:
    data = encode(Image.fromarray(COLOUR), form)
    with pytest.raises(ImageError, match=r"not a readable image|is empty"):
        read_image(data[: int(len(data) * part)])


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    zeros = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (20_000, 9_000), (60_000, 60_000), (2**31 - 1, 3)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    """Also between the sizes at which Pillow itself warns and refuses, without its warning."""
    with pytest.raises(ImageError, match=r"too many pixels .*the limit is 100,000,000\)\. Reduce it"):
        read_image(bomb(width, height))


def test_the_limit_is_the_callers() -> None:
    assert read_image(PNG, max_pixels=600).width == 30
    for source in (PNG, COLOUR, Image.fromarray(COLOUR)):
        with pytest.raises(ImageError, match="too many pixels"):
            read_image(source, max_pixels=599)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_picture_is_reduced_and_keeps_its_size_in_mind(form: str) -> None:
    picture = read_image(encode(smooth(2 * MAX_SIDE, 400), form))
    assert picture.pixels.shape == (200, MAX_SIDE, 3)
    assert (picture.width, picture.height, picture.zoom) == (2 * MAX_SIDE, 400, (2.0, 2.0))
    assert np.abs(picture.pixels.astype(int) - np.asarray(smooth(MAX_SIDE, 200))).mean() < 6


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\) is no picture"),
        (np.zeros((0, 4, 3), np.uint8), "is no picture"),
        (np.zeros((2, 4, 4, 3), np.uint8), "is no picture"),
        (np.full((4, 4), 3.0), "float64 is no picture"),
        (np.full((4, 4), np.nan), "float64 is no picture"),
        (np.zeros((4, 4), np.int64), "int64 is no picture"),
        (3, "a int is no picture"),
        (None, "a NoneType is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown format"),
        ("no/such/file.png", "No such file or directory"),
        ("nul\0.png", "null"),
    ],
)
def test_what_is_no_picture_says_why(source: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(source)
    assert "\n" not in str(caught.value)


def test_an_order_of_colours_that_does_not_exist() -> None:
    with pytest.raises(ImageError, match="no order of colours 'gbr'"):
        read_image(COLOUR, channels="gbr")  # type: ignore[arg-type]


def test_a_crop_beyond_the_edge_repeats_it() -> None:
    pixels = np.repeat(np.repeat(np.arange(60, dtype=np.uint8)[None, :, None], 60, 0), 3, 2)
    inside = crop_face(pixels, (6, 6, 48, 48))
    np.testing.assert_array_equal(inside, np.tile(np.arange(6, 54, dtype=np.uint8), (48, 1)))
    left = crop_face(pixels, (-24, 0, 48, 48))
    assert (left[:, :24] == 0).all()
    np.testing.assert_array_equal(left[0, 24:], np.arange(24))
    for box in ((100.0, 100.0, 10.0, 10.0), (-50.0, -50.0, 9.0, 9.0), (0.2, 0.2, 0.1, 0.1)):
        assert crop_face(pixels, box).shape == (48, 48)


SMALL = [
    encode(smooth(12, 9), form, **options)
    for form, options in [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("BMP", {}), ("WEBP", {}),
        ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}),
    ]
]  # fmt: skip


@settings(max_examples=1500, deadline=2000, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
    st.binary(max_size=12),
)
@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused(data: bytes, changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    mutated = bytearray(data[: len(data) - cut % len(data)] if cut % 3 == 0 else data)
    for place, value in changes:
        mutated[place % len(mutated)] = value
    reason = ""
    try:
        picture = read_image(bytes(mutated) + tail, max_pixels=4_000_000)
    except ImageError as error:
        reason = str(error)
    else:
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.ndim == 3
    assert "\n" not in reason


@settings(max_examples=200, deadline=1000, database=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(data)
