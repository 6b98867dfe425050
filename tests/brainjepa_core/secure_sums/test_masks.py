from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.secure_sums.masks import CHUNK, KeyStream, Mask, add_masks

KEY = bytes(range(32))


def blocks(key: bytes, place: int, count: int) -> bytes:
    """The oracle: each counter's block by itself, with no mode of operation."""
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return b"".join(
        cipher.update(place.to_bytes(8, "big") + number.to_bytes(8, "big"))
        for number in range(count)
    )


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("place", [0, 1, 2**40])
def test_a_stream_is_aes_of_a_counter(dtype, place):
    stream = KeyStream(KEY, place)
    found = b"".join(stream.take(size, dtype).tobytes() for size in (4, 8, 100))
    assert found == blocks(KEY, place, len(found) // 16)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_masks_of_arrays_longer_than_a_chunk(dtype):
    size = 2 * CHUNK // np.dtype(dtype).itemsize + 5
    arrays = {"b": np.zeros((size, 1), dtype), "a": np.zeros((), dtype)}
    add_masks(arrays, [Mask(KEY, True)])
    for place, name in enumerate("ab"):
        wanted = blocks(KEY, place, arrays[name].nbytes // 16 + 1)[: arrays[name].nbytes]
        assert arrays[name].astype(np.dtype(dtype).newbyteorder("<")).tobytes() == wanted


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5), st.integers(0, 40))
def test_what_is_added_and_taken_off_cancels(keys, size):
    start = np.random.default_rng(size).integers(0, 2**32, size, np.uint32)
    arrays = {"a": start.copy()}
    add_masks(arrays, [Mask(key, True) for key in keys])
    if keys and size > 3:
        assert (arrays["a"] != start).any()
    add_masks(arrays, [Mask(key, False) for key in reversed(keys)])
    np.testing.assert_array_equal(arrays["a"], start)


READ_ONLY = np.frombuffer(bytes(16), np.uint32)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((4, 4), np.uint32)[:, :2], r"uint32 of shape \[4, 2\]"),
        (READ_ONLY, r"uint32 of shape \[4\]"),
        (np.zeros(4, np.int32), r"int32 of shape \[4\]"),
        (np.zeros(4, np.float32), r"float32 of shape \[4\]"),
        (np.zeros(4, ">u4"), r">u4 of shape \[4\]"),
    ],
)
def test_what_cannot_be_masked_in_place_is_refused(array, found):
    with pytest.raises(ValueError, match=f"expected 'a' as uint32 or uint64 in one .* {found}"):
        add_masks({"a": array}, [Mask(KEY, True)])


def test_arrays_without_numbers():
    arrays = {"a": np.zeros((0, 3), np.uint32), "b": np.zeros((), np.uint64)}
    add_masks(arrays, [Mask(KEY, True)])
    assert arrays["b"] != 0
