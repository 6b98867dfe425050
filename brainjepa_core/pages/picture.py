"""Pictures within a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS = 92  # an inch of the figure
DOTS = 140


@dataclass(frozen=True)
class Picture:
    """What an ``img`` element needs, the PNG itself among it.

    Attributes
    ----------
    alt : str
        What it shows, for those who do not see it.
    width : int
        CSS pixels.
    source : str
        A ``data:`` address.
    """

    alt: str
    width: int
    source: str

    @classmethod
    def of(cls, figure: Figure, alt: str) -> Picture:
        """The figure as a PNG."""
        buffer = BytesIO()
        figure.savefig(buffer, dpi=DOTS, format="png")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        width = round(figure.get_figwidth() * CSS_PIXELS)
        return cls(alt, width, f"data:image/png;base64,{data}")
