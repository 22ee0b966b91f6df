"""The checksum inside an exported file."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bundle import small_bundle

from mien.model.seal import BLANK, KEY, broken, seal
from mien.model.standalone import onnx_model, serialized


def test_the_sum_stands_in_the_metadata_and_is_that_of_the_file_without_it() -> None:
    data = serialized(onnx_model(small_bundle()))
    found = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}[KEY]
    assert data.count(found.encode()) == 1
    assert hashlib.sha256(data.replace(found.encode(), BLANK.encode())).hexdigest() == found
    assert not broken(data)
    assert broken(data[:-1] + bytes([data[-1] ^ 1]))
    assert broken(data.replace(found.encode(), BLANK.encode()))


def test_writing_a_sealed_model_again_gives_the_same_bytes() -> None:
    data = serialized(onnx_model(small_bundle()))
    assert serialized(onnx.load_from_string(data)) == data


@given(data=st.binary(max_size=300))
def test_bytes_without_a_sum_cannot_tell_and_cannot_be_sealed(data: bytes) -> None:
    assert not broken(data)
    with pytest.raises(ValueError, match="no place for the checksum"):
        seal(data)
