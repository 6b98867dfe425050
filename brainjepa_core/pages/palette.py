"""Colours of every page and picture, told apart by all kinds of colour vision.

Categories are those of Okabe and Ito (2008, "Color Universal Design", jfly.uni-koeln.de/color;
Wong 2011, doi:10.1038/nmeth.1618), less their yellow, which white paper swallows. Colour maps:
ColorBrewer's RdBu (doi:10.1559/152304003100010929) and cividis (doi:10.1371/journal.pone.0199239).
Pictures are drawn on white; pages have a light and a dark theme.
"""

from __future__ import annotations

from typing import NamedTuple

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, BLACK = "#56B4E9", "#CC79A7", "#000000"
CATEGORIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Of what stands beside the categories.
GREY, PALE = "#5C666B", "#C4CBCF"  # what is not in question; what is behind
GRID, INK = "#E6EAEC", "#333333"  # lines behind and within a picture
ABSENT = "#F3E3C3"  # no data, in pictures that have greys

DIVERGING = "RdBu_r"  # two-sided: red is more
SEQUENTIAL = "cividis"  # one-sided: bright is more

# Variables of the style sheet. TEXT is readable on each of BACKGROUNDS, in both themes.
TEXT = ("text", "muted", "accent", "right", "caution", "wrong")
BACKGROUNDS = ("paper", "band", "warn", "shade")
LIGHT = {
    "text": "#1d2529", "muted": "#515d64", "accent": "#00629b", "right": "#1f6645",
    "caution": "#86500a", "wrong": "#9b3333", "paper": "#ffffff", "band": "#eef5f8",
    "warn": "#fdf5ea", "shade": "#f4f6f7", "line": "#e1e6e9", "rule": "#9fabb1",
    "edge": ORANGE, "veil": "#1d2529aa",
}  # fmt: skip
DARK = {
    "text": "#e3e8ea", "muted": "#a4b0b6", "accent": "#7cc0ec", "right": "#6fcaa0",
    "caution": "#f0b45a", "wrong": "#f4978c", "paper": "#14191c", "band": "#1a2830",
    "warn": "#2c2418", "shade": "#1e2529", "line": "#2c353a", "rule": "#5c686e",
    "edge": ORANGE, "veil": "#000000bb",
}  # fmt: skip


class Style(NamedTuple):
    """How a category is drawn."""

    color: str
    marker: str


def styles(count: int) -> list[Style]:
    """Colours and markers of so many categories; no pair returns before the fiftieth."""
    size = len(CATEGORIES)
    return [Style(CATEGORIES[i % size], MARKERS[i // size % len(MARKERS)]) for i in range(count)]
