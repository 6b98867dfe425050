"""Valid tokens, one at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainjepa_core.models.tokens import token_validity


@st.composite
def validity(draw):
    batch, rois, patches, patch = (draw(st.integers(1, most)) for most in (4, 5, 4, 5))
    frames = draw(arrays(bool, (batch, patches * patch)))
    return frames, draw(arrays(bool, (batch, rois))), patch


def by_loops(frames: np.ndarray, rois: np.ndarray, patch: int) -> list[list[bool]]:
    rows = []
    for person in range(len(frames)):
        row = []
        for roi in rois[person]:
            for start in range(0, frames.shape[1], patch):
                real = [bool(frames[person, start + i]) for i in range(patch)]
                row.append(bool(roi) and all(real))
        rows.append(row)
    return rows


@given(validity())
@example((np.ones((2, 6), bool), np.ones((2, 3), bool), 3))
@example((np.ones((1, 6), bool), np.array([[True, False]]), 3))
def test_by_loops(case):
    expected, found = by_loops(*case), token_validity(*case)
    if all(all(row) for row in expected):
        assert found is None
    else:
        assert found.dtype == bool and found.tolist() == expected


def test_one_padded_frame_costs_the_token_of_every_roi():
    frames = np.ones((1, 6), bool)
    frames[0, 4] = False
    found = token_validity(frames, np.array([[True, True, False]]), 2)
    assert found.tolist() == [[True, True, False, True, True, False, False, False, False]]
