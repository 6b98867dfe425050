"""Colours can be read, and told apart by people who lack a kind of cone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from brainjepa_core.pages import palette
from brainjepa_core.pages.palette import CATEGORIES, DARK, LIGHT, styles

# Machado, Oliveira and Fernandes 2009 (doi:10.1109/TVCG.2009.113), table 1, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
# Linear sRGB to CIE XYZ (D65), IEC 61966-2-1.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
APART = 15.0  # CIE76; about 2.3 is just noticeable


def linear(color: str) -> np.ndarray:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    t = XYZ @ rgb.clip(0, 1) / XYZ.sum(1)
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, vision: str) -> float:
    """CIE76 of two colours as somebody sees them."""
    matrix = np.array(VISION[vision])
    return float(np.linalg.norm(lab(matrix @ linear(one)) - lab(matrix @ linear(other))))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio."""
    dark, light = sorted(float(XYZ[1] @ linear(color)) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def test_the_measures_agree_with_published_values():
    assert contrast("#000000", "#ffffff") == pytest.approx(21, abs=1e-4)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WebAIM's example
    assert_allclose(lab(linear("#ff0000")), [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_each_background(theme):
    ratios = {
        (text, back): contrast(theme[text], theme[back])
        for text in palette.TEXT
        for back in palette.BACKGROUNDS
    }
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_themes_have_the_same_variables():
    assert LIGHT.keys() == DARK.keys() >= {*palette.TEXT, *palette.BACKGROUNDS}


@pytest.mark.parametrize("vision", VISION)
def test_categories_can_be_told_apart(vision):
    pairs = combinations((*CATEGORIES, palette.PALE), 2)
    apart = {pair: distance(*pair, vision) for pair in pairs}
    assert {pair: value for pair, value in apart.items() if value < APART} == {}


def test_a_palette_that_is_not_safe_would_be_refused():
    assert distance("#2ca02c", "#d62728", "deuteranopia") < distance("#2ca02c", "#d62728", "normal")
    tab10 = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")
    assert min(distance(*pair, "deuteranopia") for pair in combinations(tab10, 2)) < APART


def test_styles_of_many_categories_differ():
    assert len(set(styles(49))) == 49
    assert [style.color for style in styles(7)] == list(CATEGORIES)
    assert {style.marker for style in styles(7)} == {"o"}
