from __future__ import annotations

import numpy as np
import torch

from brainjepa_core.evaluation.learning.inputs import ArrayInputs, WindowInputs


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
    """Person p has p + 1 windows of p's; the first of person 0 is padded."""

    def batch(self, subjects, seeds):
        x = np.array([[[s] * 4] * 3 for s in subjects], np.float32)
        self.asked = (subjects, seeds)
        return x, np.ones((len(x), 4), bool), np.ones((len(x), 3), bool)

    def full_windows(self, subject):
        x = np.full((subject + 1, 3, 4), subject, np.float32)
        frames = np.ones((subject + 1, 4), bool)
        frames[0, 2:] = subject > 0
        return x, frames, np.ones((subject + 1, 3), bool)


def test_a_window_of_each_in_training_and_all_in_prediction():
    people = People()
    inputs = WindowInputs(people, np.array([3, 0, 2]), patch=2)
    x, valid = inputs.draw([2, 0], [(7, 1), (7, 2)])
    assert people.asked == ([2, 3], [(7, 1), (7, 2)]) and valid is None
    assert x[:, 0, 0].tolist() == [2, 3]
    parts = list(inputs.whole([1, 2]))
    assert [places for places, _ in parts] == [[0], [1, 1, 1]]
    assert parts[0][1][1].tolist() == [[True, False] * 3]
    assert parts[1][1][1] is None and torch.equal(parts[1][1][0], torch.full((3, 3, 4), 2.0))
