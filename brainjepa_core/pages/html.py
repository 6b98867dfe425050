"""Parts of HTML pages that open anywhere: text that cannot become markup, pictures within."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def html_text(value: object) -> str:
    """Escaped, also for attributes, and without control characters, which HTML does not allow."""
    return escape("".join(c if c.isprintable() else " " for c in str(value)))


def embedded_picture(figure: Figure, alt: str) -> str:
    """The figure as an ``img`` element that holds its PNG, at 92 CSS pixels an inch."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=140, format="png")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = round(figure.get_figwidth() * 92)
    return f'<img width="{width}" alt="{html_text(alt)}" src="data:image/png;base64,{data}">'
