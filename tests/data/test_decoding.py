"""Images of every kind become upright RGB, for data sets and prediction; what is none is refused with the reason."""

from __future__ import annotations

import io
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.data.crops import crop_face
from mien.data.decoding import MAX_SIDE, SupportsTensor, decode, read_image
from mien.errors import ImageError

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


PNG = encode(Image.fromarray(COLOUR), "PNG")


def smooth(width: int = 30, height: int = 20) -> Image.Image:
    """A image that lossy formats keep well, red on the left, green below."""
    across, down = np.meshgrid(np.linspace(255, 0, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.full_like(down, 90)], -1).astype(np.uint8))


def test_a_path_bytes_an_array_and_a_pillow_image_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    for source in (path, str(path), PNG, COLOUR, Image.open(path), lambda: PNG):
        image = read_image(source)
        np.testing.assert_array_equal(image.pixels, COLOUR)
        assert (image.width, image.height, image.zoom) == (30, 20, (1.0, 1.0))
    np.testing.assert_array_equal(read_image(COLOUR[..., ::-1], channels="bgr").pixels, COLOUR)
    np.testing.assert_array_equal(read_image(PNG, channels="bgr").pixels, COLOUR)  # files know their order


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation: int) -> None:
    """The marks in the corners of the upright image tell all eight apart."""
    upright = smooth(40, 24)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(encode(stored, "JPEG", quality=95, exif=exif))
    assert (image.width, image.height) == (40, 24)
    assert np.abs(image.pixels.astype(int) - np.asarray(upright)).mean() < 6


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    image = read_image(encode(smooth(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"))
    assert image.pixels.shape == (20, 30, 3)


def test_transparency_is_laid_over_white() -> None:
    layer = np.dstack([COLOUR, np.full((20, 30), 255, np.uint8)])
    layer[:10, :, 3] = 0
    for image in (read_image(encode(Image.fromarray(layer), "PNG")), read_image(layer)):
        assert (image.pixels[:10] == 255).all()
        np.testing.assert_array_equal(image.pixels[10:], COLOUR[10:])
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
    """A PNG of a few hundred bytes whose header claims very many pixels."""

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
def test_a_large_image_is_reduced_and_its_size_recorded(form: str) -> None:
    image = read_image(encode(smooth(2 * MAX_SIDE, 400), form))
    assert image.pixels.shape == (200, MAX_SIDE, 3)
    assert (image.width, image.height, image.zoom) == (2 * MAX_SIDE, 400, (2.0, 2.0))
    assert np.abs(image.pixels.astype(int) - np.asarray(smooth(MAX_SIDE, 200))).mean() < 6


def test_a_large_jpeg_is_decoded_at_the_scale_that_is_enough() -> None:
    """The scaled decode differs from the reduced full one by less than two levels; other formats are read as before."""
    whole = smooth(2000, 800)
    for enough, width in ((2000, 2000), (1001, 2000), (1000, 1000), (260, 500), (math.inf, 2000)):
        image = read_image(encode(whole, "JPEG"), enough=enough)
        assert image.pixels.shape == (width * 2 // 5, width, 3)
        assert (image.width, image.height) == (2000, 800)
        reduced = whole.resize((width, width * 2 // 5), Image.Resampling.BOX)
        assert np.abs(image.pixels.astype(int) - np.asarray(reduced)).mean() < 2
    assert read_image(encode(whole, "PNG"), enough=260).pixels.shape == (800, 2000, 3)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\) is no image"),
        (np.zeros((0, 4, 3), np.uint8), "is no image"),
        (np.zeros((2, 4, 4, 3), np.uint8), "is no image"),
        (np.full((4, 4), 300.0), "float64 with values outside of 0 to 255"),
        (np.full((4, 4), np.nan), "float64 with values outside of 0 to 255"),
        (np.full((4, 4), -1, np.int64), "int64 with values outside of 0 to 255"),
        (3, "a int is no image"),
        (None, "a NoneType is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown format"),
        ("no/such/file.png", "No such file or directory"),
        ("nul\0.png", "null"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(source: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(source)
    assert "\n" not in str(caught.value)


def test_an_unknown_channel_order_is_refused() -> None:
    with pytest.raises(ImageError, match="no channel order 'gbr'"):
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
    for at, value in changes:
        mutated[at % len(mutated)] = value
    reason = ""
    try:
        image = read_image(bytes(mutated) + tail, max_pixels=4_000_000)
    except ImageError as error:
        reason = str(error)
    else:
        assert image.pixels.dtype == np.uint8
        assert image.pixels.ndim == 3
    assert "\n" not in reason


@settings(max_examples=200, deadline=1000, database=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(data)


def deep_png(bits: int) -> bytes:
    """Gray of 1, 2 or 4 bits, as scanners write it."""
    levels = 2**bits
    image = Image.fromarray((np.arange(600).reshape(20, 30) % levels).astype(np.uint8), "P")
    image.putpalette([value * 255 // (levels - 1) for value in range(levels) for _ in "rgb"])
    return encode(image, "PNG", bits=bits)


FORMATS = {
    "PNG": ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["L", "RGB", "RGBA"],
    "AVIF": ["L", "RGB", "RGBA"],
    "HEIF": ["L", "RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB"],
    "GIF": ["L", "P"],
    "TIFF": ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "F", "I"],
    "PPM": ["1", "L", "RGB"],
    "TGA": ["L", "P", "RGB", "RGBA"],
    "JPEG2000": ["L", "RGB", "RGBA"],
}
ORIENTED = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")


def in_mode(mode: str) -> Image.Image:
    """A smooth image with a transparent half, a 16-bit or a float one."""
    if mode in ("I;16", "F", "I"):
        ramp = np.linspace(0, 1, 60 * 48).reshape(60, 48)
        return Image.fromarray(
            ramp.astype(np.float32) if mode == "F" else (ramp * 65535).astype(np.uint16 if mode == "I;16" else np.int32)
        )
    image = smooth(48, 60)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.repeat([[0], [255]], 30, 0).astype(np.uint8) * np.ones((1, 48), np.uint8)))
    return image.convert(mode)


def encoded(form: str, mode: str, orientation: int, **options: Any) -> bytes:
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation != 1:
        options["tiffinfo" if form == "TIFF" else "exif"] = {274: orientation} if form == "TIFF" else exif
    return encode(in_mode(mode), form, **options)


CASES = [
    (form, mode, orientation)
    for form, modes in FORMATS.items()
    for mode in modes
    for orientation in (range(1, 9) if form in ORIENTED else (1,))
]


@pytest.mark.parametrize(("form", "mode", "orientation"), CASES)
def test_data_sets_and_prediction_read_the_same_face(form: str, mode: str, orientation: int) -> None:
    """A face of a data set is the one that prediction makes of the same file as a crop."""
    data = encoded(form, mode, orientation)
    whole = read_image(data)
    assert (whole.width, whole.height) == ((60, 48) if orientation > 4 else (48, 60))
    np.testing.assert_array_equal(decode(data), crop_face(whole.pixels, (0, 0, whole.width, whole.height)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_format_is_turned_once(form: str, orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    upright = in_mode("RGB").transpose(turns[orientation]) if orientation in turns else in_mode("RGB")
    options = {"lossless": True} if form == "WEBP" else {}
    found = read_image(encoded(form, "RGB", orientation, **options)).pixels.astype(int)
    assert np.abs(found - np.asarray(upright)).mean() < 6


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_is_the_same_in_data_sets(bits: int) -> None:
    data = deep_png(bits)
    np.testing.assert_array_equal(decode(data), crop_face(read_image(data).pixels, (0, 0, 30, 20)))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_the_fast_way_gives_pillows_values(form: str) -> None:
    """Gray PNG and lossless WebP are read by OpenCV; colours of a lossless WebP become the same gray."""
    for image in (Image.fromarray(COLOUR[..., 0]), Image.fromarray(COLOUR)):
        data = encode(image, form, lossless=True)
        np.testing.assert_array_equal(decode(data), crop_face(read_image(data).pixels, (0, 0, 30, 20)))


def test_a_jpeg_that_lacks_only_its_end_is_read_and_a_shorter_one_is_not() -> None:
    data = encode(smooth(64, 64), "JPEG")
    for whole in (data[:-2], data[:-1]):
        np.testing.assert_array_equal(read_image(whole).pixels, read_image(data).pixels)
    with pytest.raises(ImageError, match="not a readable image"):
        read_image(data[: len(data) * 3 // 4])


def test_open_files_and_buffers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        sources: list[Any] = [file, io.BytesIO(PNG), bytearray(PNG), memoryview(PNG)]
        for source in sources:
            np.testing.assert_array_equal(read_image(source).pixels, COLOUR)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match=r"open as text.*binary mode"):
        read_image(text)  # type: ignore[arg-type]


def test_numbers_of_every_type_and_range() -> None:
    expected = COLOUR
    unit = COLOUR / 255
    for source in (
        COLOUR.astype(np.int64), COLOUR.astype(np.int16), COLOUR.astype(np.float32), unit, unit.astype(np.float16),
        unit * (1 + 1e-6), COLOUR.astype(np.uint32),
    ):  # fmt: skip
        assert np.abs(read_image(source).pixels.astype(int) - expected).max() <= (source.dtype == np.float16)


def test_tensors_have_their_channels_first() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(COLOUR.transpose(2, 0, 1).copy())
    assert isinstance(tensor, SupportsTensor)
    for source in (tensor, tensor.float(), (tensor / 255).requires_grad_()):
        np.testing.assert_array_equal(read_image(source).pixels, COLOUR)
    np.testing.assert_array_equal(read_image(tensor[0]).pixels[..., 0], COLOUR[..., 0])


@pytest.mark.parametrize("url", ["http://localhost/a.png", "https://localhost/a.png", "s3://bucket/a.png"])
def test_a_url_is_not_taken_for_a_file(url: str) -> None:
    with pytest.raises(ImageError, match=r"nothing is downloaded unless allowed.*--allow-urls"):
        read_image(url)


def test_the_limit_may_be_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telephones take 200 megapixels; Pillow refuses more than twice its own limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 250)
    assert read_image(PNG, max_pixels=600).width == 30
    assert Image.MAX_IMAGE_PIXELS == 250


def test_heic_without_its_package_leads_to_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded("HEIF", "RGB", 1)
    assert read_image(data).width == 48
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"needs the package pillow-heif.*mien\[heif\]"):
        read_image(data)
