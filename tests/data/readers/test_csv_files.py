"""The parsers of pixel text against Python's own reading of the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mien.data.readers.csv_files import header_columns, parse_pixels, parse_row


def text_of(values: np.ndarray, separator: bytes = b" ") -> bytes:
    return separator.join(str(value).encode() for value in values.tolist())


def numbers(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 2304), dtype=np.uint8)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5))
@settings(max_examples=30)
def test_both_parsers_read_back_what_was_written(seed: int, n: int) -> None:
    rows = numbers(seed, n)
    texts = [text_of(row) for row in rows]
    parsed = parse_pixels(texts)
    assert parsed is not None
    np.testing.assert_array_equal(parsed, rows)
    np.testing.assert_array_equal([parse_row(text) for text in texts], rows)


def test_every_number_from_0_to_255_is_read_exactly() -> None:
    row = np.arange(2304) % 256
    np.testing.assert_array_equal(parse_pixels([text_of(row)]), [row])


WORDS = st.one_of(
    st.sampled_from(
        [b"256", b"260", b"300", b"999", b"1000", b"-1", b"+1", b"1.5", b"x", b"", b" ", b"00000", b"\xff"]
    ),
    st.binary(max_size=4).filter(lambda word: b"," not in word),
)


@given(word=WORDS, position=st.integers(0, 2303), row=st.integers(0, 2))
@example(word=b"1 2", position=5, row=0)
@example(word=b"00", position=0, row=0)
@example(word=b"0001", position=0, row=0)
@settings(max_examples=150)
def test_the_fast_parser_never_takes_what_the_strict_one_refuses(word: bytes, position: int, row: int) -> None:
    """A word of any bytes at any position: where the fast parser answers, the strict one gives the same numbers."""
    texts = [text_of(values) for values in numbers(3, 3)]
    words = texts[row].split(b" ")
    words[position] = word
    texts[row] = b" ".join(words).strip()
    fast = parse_pixels(texts)
    if fast is not None:
        np.testing.assert_array_equal(fast, [parse_row(text) for text in texts])


@given(count=st.integers(0, 2400).filter(lambda n: n != 2304))
@settings(max_examples=30)
def test_another_number_of_pixels_is_refused(count: int) -> None:
    text = text_of(np.zeros(count, dtype=int))
    assert parse_pixels([text]) is None
    with pytest.raises(ValueError, match=rf"it has {count} pixels, not 2304"):
        parse_row(text)


def test_a_pixel_lost_in_one_row_and_won_in_the_next_is_not_taken() -> None:
    """The total fits then; only the rows' ends show that a pixel moved."""
    short, long = text_of(np.zeros(2303, dtype=int)), text_of(np.zeros(2305, dtype=int))
    assert parse_pixels([short, long]) is None


@pytest.mark.parametrize("separator", [b"  ", b"\t", b" \t "])
def test_uneven_white_space_is_read_by_the_strict_parser(separator: bytes) -> None:
    row = numbers(1, 1)[0]
    assert parse_pixels([text_of(row, separator)]) is None
    np.testing.assert_array_equal(parse_row(text_of(row, separator)), row)


@pytest.mark.parametrize("word", ["256", "-1", "1.5", "x", "99999999999999999999", "1_0", "²"])
def test_the_strict_parser_reports_the_bad_pixel(word: str) -> None:
    words = ["0"] * 2304
    words[16] = word
    with pytest.raises(ValueError, match="pixel 17 is"):
        parse_row(" ".join(words).encode())


def test_header_columns_are_read_without_spaces_case_or_byte_order_mark() -> None:
    assert header_columns(b"\xef\xbb\xbfemotion, Usage, pixels\r\n") == ["emotion", "usage", "pixels"]
