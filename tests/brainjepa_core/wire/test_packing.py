"""Named arrays in one buffer: back to the bit, and nothing but a ValueError from garbage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjepa_core.wire.packing import pack_arrays, packed_sizes, unpack_arrays

DTYPES = st.sampled_from(["f4", "f8", "i8", "u2", "u1", "bool"]).map(np.dtype)
ARRAYS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda n: n != "__metadata__"),
    DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))),
    max_size=5,
)


@given(ARRAYS)
def test_the_way_there_and_back(arrays):
    found = unpack_arrays(pack_arrays(arrays))
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


def test_arrays_in_another_memory_layout():
    value = np.arange(12.0).reshape(3, 4).T
    assert np.array_equal(unpack_arrays(pack_arrays({"x": value, "y": value[::2]}))["x"], value)


@given(st.binary(max_size=200))
def test_garbage(data):
    with pytest.raises(ValueError, match="expected named arrays in one buffer, found bytes that"):
        unpack_arrays(np.frombuffer(b"\xff" + data, np.uint8))


@given(ARRAYS, st.data())
def test_damaged_buffers_are_refused_or_still_arrays(arrays, data):
    buffer = pack_arrays(arrays).copy()
    place = data.draw(st.integers(0, len(buffer) - 1))
    buffer[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(buffer)))
    for bad in (buffer, buffer[:cut]):
        try:
            found = unpack_arrays(bad)
        except ValueError as error:
            assert "bring coordinator and site to one version" in str(error)
        else:
            assert all(isinstance(value, np.ndarray) for value in found.values())


def test_what_is_no_buffer():
    for wrong in (np.zeros(3, np.float32), np.zeros((2, 2), np.uint8)):
        with pytest.raises(ValueError, match="expected one buffer of bytes, found"):
            unpack_arrays(wrong)


@given(ARRAYS)
def test_sizes_are_read_without_the_arrays(arrays):
    assert packed_sizes(pack_arrays(arrays)) == {n: value.nbytes for n, value in arrays.items()}


@given(st.binary(max_size=200))
def test_sizes_of_garbage(data):
    with pytest.raises(ValueError, match="expected the head of named arrays, found bytes that"):
        packed_sizes(np.frombuffer(b"\xff" + data, np.uint8))
