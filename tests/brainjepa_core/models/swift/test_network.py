"""SwiFT's windows: who hears whom, shifted or not; what is not there is not heard."""

from __future__ import annotations

import math

import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

from brainjepa_core.models.swift.attention import SwinBlock, cut, joined
from brainjepa_core.models.swift.contrast import (
    TEMPERATURE,
    ContrastHead,
    time_contrast,
    told_apart,
)
from brainjepa_core.models.swift.network import Merging, Swift, SwiftPredictor
from brainjepa_core.models.swift.settings import SwiftSettings

STILL, MOVED = (0, 0, 0, 0), (2, 2, 2, 2)
SMALL = SwiftSettings(rois=1, volume=(24, 24, 24), frames=6, width=4, depths=(2, 2), heads=(2, 2))


def block(shift=STILL, hear_padding=False) -> SwinBlock:
    torch.manual_seed(0)
    return SwinBlock(4, 2, (4, 4, 4, 4), shift, hear_padding).double().requires_grad_(False)


def test_windows_are_cut_and_joined():
    x = torch.arange(2 * 4 * 2 * 2 * 6 * 3).reshape(2, 4, 2, 2, 6, 3)
    windows = cut(x, (2, 2, 1, 3))
    assert windows.shape == (2 * 2 * 1 * 2 * 2, 12, 3)
    assert torch.equal(windows[0], x[0, :2, :2, 0, :3].reshape(12, 3))
    assert torch.equal(joined(windows, x.shape, (2, 2, 1, 3)), x)


def heard(layer: SwinBlock, size: int) -> list[set[int]]:
    """By which tokens of an axis each one is changed."""
    x = torch.randn(1, size, 1, 1, 1, 4, dtype=torch.float64)
    plain, found = layer(x), [set() for _ in range(size)]
    for i in range(size):
        other = x.clone()
        other[0, i] = torch.randn(4)
        for j in (layer(other) != plain).any(-1).flatten().nonzero()[:, 0].tolist():
            found[j].add(i)
    return found


def test_who_hears_whom():
    alone = {i: set(range(i - i % 4, i - i % 4 + 4)) for i in range(8)}
    assert heard(block(), 8) == list(alone.values())
    # Moved by two: the middle is one window; the ends meet in the other and do not hear each other.
    ends, middle = [{0, 1}] * 2, [{2, 3, 4, 5}] * 4
    assert heard(block(MOVED), 8) == [*ends, *middle, *[{6, 7}] * 2]
    assert heard(block(MOVED), 3) == [{0, 1, 2}] * 3  # an axis that is no longer than its window


@pytest.mark.parametrize("hear_padding", [False, True])
def test_padding_is_heard_by_nobody_unless_asked(hear_padding):
    x = torch.randn(1, 6, 1, 1, 1, 4, dtype=torch.float64)
    layer = block(hear_padding=hear_padding)
    last = layer(x)[:, 4:]
    assert torch.allclose(last, layer(x[:, 4:]), rtol=1e-9) != hear_padding


@pytest.mark.parametrize("shift", [STILL, MOVED])
def test_frames_that_are_not_there_are_not_heard(shift):
    x = torch.randn(2, 4, 4, 4, 6, 4, dtype=torch.float64)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, 4:] = False
    other = x.clone()
    other[1, ..., 4:, :] = 9
    found, again = block(shift)(x, valid), block(shift)(other, valid)
    assert torch.equal(found[0], again[0]) and torch.equal(
        found[1, ..., :4, :], again[1, ..., :4, :]
    )
    assert torch.allclose(found[0], block(shift)(x[:1])[0], rtol=1e-9)


def test_merging_by_its_neighbours():
    torch.manual_seed(0)
    layer, x = Merging(3), torch.randn(1, 4, 2, 2, 2, 3)
    out = layer(x)
    assert out.shape == (1, 2, 1, 1, 2, 6)
    around = [x[0, 2 + i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    expected = layer.reduction(layer.norm(torch.cat(around)))
    assert_allclose(out[0, 1, 0, 0, 1].detach(), expected.detach(), rtol=1e-5)


def test_a_sample_lacks_frames_and_nobody_hears_what_fills_them():
    torch.manual_seed(0)
    model = SwiftPredictor(SMALL, 2).double().eval()
    x = torch.randn(2, 24, 24, 24, 6, dtype=torch.float64)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    other = x.clone()
    other[1, ..., 4:] = 9
    found = model(x, valid)
    assert torch.equal(found, model(other, valid))
    assert not torch.allclose(found[1], model(x)[1])
    assert torch.allclose(found[0], model(x[:1])[0], rtol=1e-9)
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_volumes_of_another_size_are_refused():
    model = Swift(SMALL)
    with pytest.raises(
        ValueError, match=r"expected volumes of shape \[batch, 24, 24, 24, 6 frames\]"
    ):
        model(torch.zeros(1, 24, 24, 18, 6))
    with pytest.raises(ValueError, match=r"6 frames\], found \[1, 24, 24, 24, 7\]; crop or fill"):
        model(torch.zeros(1, 24, 24, 24, 7))


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"volume": (96, 96, 90)}, r"multiples of 48 voxels .*, found \[96, 96, 90\]; crop or pad"),
        ({"heads": (3, 6)}, "expected heads of 4 stages as depths has, found 2"),
        ({"width": 8}, "expected heads that divide 8 channels of stage 1, found 3"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(choices, text):
    with pytest.raises(ValidationError, match=text):
        SwiftSettings(rois=1, **choices)


def test_contrast_by_loops():
    torch.manual_seed(0)
    one, two = (torch.nn.functional.normalize(torch.randn(3, 5).double(), dim=1) for _ in "ab")
    every = [*one, *two]
    expected = []
    for i in range(3):
        losses = []
        for a, b in ((i, i + 3), (i + 3, i)):
            others = [
                math.exp(float(every[a] @ v) / TEMPERATURE) for j, v in enumerate(every) if j != a
            ]
            losses.append(
                -math.log(math.exp(float(every[a] @ every[b]) / TEMPERATURE) / sum(others))
            )
        expected.append(sum(losses) / 2)
    assert_allclose(told_apart(one, two), expected, rtol=1e-9)


def test_a_person_is_alike_in_two_windows_and_each_window_is_itself():
    eye = torch.eye(4)
    people = eye[:2, None].expand(-1, 2, -1)  # one vector a person, whatever the window
    windows = torch.stack([eye[:2], eye[2:]])  # one a window
    alike, apart = time_contrast(people, people), time_contrast(windows, windows)
    chance = time_contrast(*(eye[:1, None].expand(2, 2, -1),) * 2)
    assert (alike < chance).all() and (apart < chance).all()
    assert ContrastHead(6, 4)(torch.randn(3, 6)).norm(dim=1).tolist() == pytest.approx([1, 1, 1])
