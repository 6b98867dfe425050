"""Numbers of a record as its pages show them; a dash where nothing is known."""

from __future__ import annotations

from brainjepa_server.reporting.figures import unit_of_bytes


def number_in_words(value: float | None, digits: int) -> str:
    """So many digits after the point."""
    return "–" if value is None else f"{value:.{digits}f}"


def bytes_in_words(count: float) -> str:
    """In the decimal unit that suits."""
    unit, size = unit_of_bytes(count)
    return f"{count / size:.1f} {unit}" if size > 1 else f"{count:.0f} {unit}"
