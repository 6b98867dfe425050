"""Named arrays in one buffer: back to the bit, and nothing but a ValueError from garbage."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjepa_core.wire.packing import (
    buffer_in,
    mapped_arrays,
    pack_arrays,
    packed_sizes,
    unpack_arrays,
)

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


def npy(array, **named) -> bytes:
    file = BytesIO()
    np.save(file, array, **named)
    return file.getvalue()


def test_the_buffer_of_a_file_in_memory_is_not_copied():
    packed = pack_arrays({"a": np.arange(5.0), "b": np.ones((2, 3), np.int16)})
    file = npy(packed)
    found = buffer_in(file)
    assert np.array_equal(found, packed)
    assert np.shares_memory(found, np.frombuffer(file, np.uint8))
    assert np.array_equal(unpack_arrays(found)["b"], np.ones((2, 3)))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros(4, np.float32)),
        npy(np.zeros((2, 2), np.uint8)),
        npy(np.zeros(4, np.uint8))[:-1],
        npy(np.zeros(4, np.uint8)) + b"more",
        npy(np.array([{}], dtype=object), allow_pickle=True),
        npy(np.zeros(4, np.uint8)).replace(b"NUMPY\x01", b"NUMPY\x02"),
        npy(np.zeros(4, np.uint8)).replace(b"'shape'", b"'shapf'"),
        npy(np.zeros(4, np.uint8)).replace(b"(4,)", b"(-4)"),
        "text",
    ],
)
def test_files_that_hold_no_buffer(file):
    with pytest.raises(ValueError, match="expected one buffer of bytes, found a file that raises"):
        buffer_in(file)


def test_arrays_of_a_file_outlive_its_name(tmp_path):
    path, arrays = tmp_path / "reply", {"a": np.arange(5.0), "empty": np.zeros((0, 3))}
    pack_arrays(arrays).tofile(path)
    found = mapped_arrays(path)
    path.unlink()
    assert found.keys() == arrays.keys() and not found["a"].flags.writeable
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
