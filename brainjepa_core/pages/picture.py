"""Pictures within a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS = 92  # an inch of the figure
DOTS, DOTS_NARROW = 140, 184  # dots an inch; narrow screens have twice as many dots as pixels


@dataclass(frozen=True)
class Picture:
    """What a ``picture`` element needs, two PNGs among it.

    Attributes
    ----------
    alt : str
        What it shows, for those who do not see it.
    width : int
        CSS pixels of the wide one.
    source, narrow : str
        ``data:`` addresses: for a page at full width, and for a phone.
    """

    alt: str
    width: int
    source: str
    narrow: str

    @classmethod
    def of(cls, figure: Figure, alt: str) -> Picture:
        """The figure as PNGs; it is left laid out for a narrow screen."""
        from brainjepa_core.pages.narrow import fold  # matplotlib takes a second to import

        width = round(figure.get_figwidth() * CSS_PIXELS)
        wide = _png(figure, DOTS)
        fold(figure)
        return cls(alt, width, wide, _png(figure, DOTS_NARROW))


def _png(figure: Figure, dots: int) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dots, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
