"""A picture for a narrow screen: panels below one another, legends below panels, text as large.

Pictures are drawn once, for a page at full width. Scaled down to a phone their text would be three
pixels high; `fold` lays the same axes out anew instead.
"""

from __future__ import annotations

import textwrap

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import offset_copy

INCHES = 4.0  # 368 CSS pixels, what a page leaves of 400
SMALLEST = 7.5  # points: 9.6 CSS pixels
TITLE, LABEL, TICK = 33, 46, 24  # characters of a line
TITLE_BESIDE = 24  # of a title where words stand left of the axes
LINE = 0.15  # inches; a label of two fits where one stood
GROUP = 4  # panels without labels of their own (views of one brain) stand two in a row
BELOW = 0.5  # inches from an axes to its legend, past ticks and label


def fold(figure: Figure) -> None:
    """Lay a figure out `INCHES` wide; what it shows stays."""
    width, height = figure.get_size_inches()
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    if width <= INCHES:
        return
    if not panels or figure.get_layout_engine() is None:
        figure.set_size_inches(INCHES, height * INCHES / width)
        for ax in filter(_labels, figure.axes):  # labels keep their room in inches
            box = ax.get_position()
            left = box.x0 * width / INCHES
            ax.set_position((left, box.y0, box.x1 - left, box.height))
    else:
        _below_one_another(figure, panels, width, height)
        _legends_above(figure)
    for ax in panels:
        _short_lines(ax)
        _legend_below(ax)
    for text in figure.findobj(Text):
        text.set_fontsize(max(SMALLEST, text.get_fontsize()))


def _below_one_another(figure: Figure, panels: list[Axes], width: float, height: float) -> None:
    rows, columns = panels[0].get_gridspec().get_geometry()  # type: ignore[union-attr]
    across = 2 if columns >= GROUP and not any(map(_labels, panels)) else 1
    shrunk = (INCHES / across) / (width / columns)
    down = -(-len(panels) // across)
    shares = [ax.get_position().height for ax in panels[::across]]
    named = any(map(_labels, panels))  # each label keeps its height, and has that of its lines
    tall = height / rows * (1.0 if named else min(1.0, max(0.7, shrunk)))
    tall += max(map(_taller, panels))
    grid = GridSpec(down, across, figure, height_ratios=shares if across == 1 else None)
    sizes = [label.get_fontsize() for label in panels[0].get_yticklabels()]
    for number, ax in enumerate(panels):
        ax.set_subplotspec(grid[number // across, number % across])
        if across == 1 and not ax.yaxis.get_tick_params().get("labelleft", True):
            ax.tick_params(axis="y", labelleft=True, labelsize=min(sizes))
    figure.set_size_inches(INCHES, tall * down + 0.25)
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(h_pad=0.1)


def _labels(ax: Axes) -> list[str]:
    """Words, not numbers, beside the axis that goes up."""
    texts = (label.get_text() for label in ax.get_yticklabels())
    return [text for text in texts if any(map(str.isalpha, text))]


def _taller(ax: Axes) -> float:
    """Inches that labels of several lines need beyond what as many of one line have."""
    lines = max((len(textwrap.wrap(text, TICK)) for text in _labels(ax)), default=1)
    return max(0, lines - 2) * LINE * len(ax.get_yticks())


def _short_lines(ax: Axes) -> None:
    named = _labels(ax)
    for title in (ax.title, ax._left_title, ax._right_title):  # type: ignore[attr-defined]
        title.set_text(textwrap.fill(title.get_text(), TITLE_BESIDE if named else TITLE))
    ax.set_xlabel(textwrap.fill(ax.get_xlabel(), LABEL))
    if named:
        places = ax.get_yticks()
        texts = [label.get_text() for label in ax.get_yticklabels()]
        if len(places) == len(texts) and max(map(len, named)) > TICK:
            ax.set_yticks(places, [textwrap.fill(text, TICK) for text in texts])


def _legends_above(figure: Figure) -> None:
    """Legends of all panels, which stood above them or beside them."""
    for old in list(figure.legends):
        entries, columns = _entries(old)
        old.remove()
        figure.legend(
            list(entries.values()), list(entries), fontsize=8, frameon=False, ncols=columns,
            loc="outside upper left",
        )  # fmt: skip


def _entries(old: Legend) -> tuple[dict[str, Artist], int]:
    """Handles of a legend by text, and in how many columns they fit."""
    texts = [text.get_text() for text in old.get_texts()]
    longest = max(map(len, texts), default=0)
    known = {t: h for t, h in zip(texts, old.legend_handles, strict=True) if h is not None}
    return known, 1 if longest > TICK else 2 if longest > 12 else 3


def _legend_below(ax: Axes) -> None:
    old = ax.get_legend()
    if old is None or old.get_bbox_to_anchor() is ax.bbox:
        return
    entries, columns = _entries(old)
    ax.legend(
        list(entries.values()), list(entries), fontsize=8, frameon=False, loc="upper center",
        bbox_to_anchor=(0.5, 0.0), ncols=columns,
        bbox_transform=offset_copy(ax.transAxes, ax.get_figure(root=True), y=-BELOW),
    )  # fmt: skip
