"""The checksum inside an exported file."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.export.onnx_file import onnx_model, serialized
from mien.models.onnx.checksum import BLANK, KEY, is_corrupt, with_checksum
from support.bundles import small_bundle


def test_the_sum_stands_in_the_metadata_and_is_that_of_the_file_without_it() -> None:
    data = serialized(onnx_model(small_bundle()))
    found = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}[KEY]
    assert data.count(found.encode()) == 1
    assert hashlib.sha256(data.replace(found.encode(), BLANK.encode())).hexdigest() == found
    assert not is_corrupt(data)
    assert is_corrupt(data[:-1] + bytes([data[-1] ^ 1]))
    assert is_corrupt(data.replace(found.encode(), BLANK.encode()))


def test_writing_a_sealed_model_again_gives_the_same_bytes() -> None:
    data = serialized(onnx_model(small_bundle()))
    assert serialized(onnx.load_from_string(data)) == data


@given(data=st.binary(max_size=300))
def test_bytes_without_a_checksum_are_not_corrupt_and_cannot_get_one(data: bytes) -> None:
    assert not is_corrupt(data)
    with pytest.raises(ValueError, match="no checksum field"):
        with_checksum(data)
