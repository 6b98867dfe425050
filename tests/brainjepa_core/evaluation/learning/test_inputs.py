from __future__ import annotations

import numpy as np
import torch

from brainjepa_core.evaluation.learning.inputs import ArrayInputs, ScanInputs


def test_arrays_come_by_row_whatever_the_seed():
    x, valid = np.arange(12.0).reshape(6, 2), np.arange(6) > 2
    inputs = ArrayInputs(x, valid, batch=2)
    found, mask = inputs.draw([4, 1], [(0,), (1,)])
    assert found.dtype == torch.float32 and mask.dtype == torch.bool
    assert found.tolist() == x[[4, 1]].tolist() and mask.tolist() == [True, False]
    parts = list(inputs.whole([5, 0, 3]))
    assert [places for places, _ in parts] == [[0, 1], [2]]
    assert torch.cat([a[0] for _, a in parts]).tolist() == x[[5, 0, 3]].tolist()


class People:
    """Person p has p scans, and one of a window and a half, that lacks ROI p."""

    def whole_scans(self, subject):
        scan = np.full((1, 3, 4), subject, np.float32), np.ones((1, 4), bool), np.ones((1, 3), bool)
        frames = np.array([[True] * 4, [True] * 2 + [False] * 2])
        x = np.full((2, 3, 4), 9.0, np.float32) * frames[:, None]
        return [scan] * subject + [(x, frames, np.arange(3)[None].repeat(2, 0) != subject)]


def test_all_windows_of_each_whatever_the_seed():
    labels = np.array([30, 31, 32]), np.array([5, 6, 7])
    inputs = ScanInputs(People(), np.array([2, 0, 1]), 2, *labels)
    x, blank, there, rois, person, first, second = inputs.draw([2, 0], [(7, 1), (7, 2)])
    assert person.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (first.tolist(), second.tolist()) == ([32, 30], [7, 5])
    assert x[:, 0, 0].tolist() == [1, 9, 9, 2, 2, 9, 9]
    assert torch.equal(blank[0], x[0])  # at the scan's mean, where nothing changes
    assert rois[1].tolist() == [True, False, True] and rois[0].all()
    assert there[2].reshape(3, 2).tolist() == [[True, False], [False, False], [True, False]]
    assert there[0].all() and there.shape == (7, 6)
    parts = list(inputs.whole([1, 2]))
    assert [places for places, _ in parts] == [[0], [1]]
    assert torch.equal(parts[1][1][0], x[:3]) and parts[1][1][5].tolist() == [32]
