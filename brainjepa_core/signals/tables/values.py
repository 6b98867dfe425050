"""A value of a participants table as it is compared and learned: a number, a text, or not known."""

from __future__ import annotations

import math
from typing import Any

from brainjepa_core.signals.tables import cells
from brainjepa_core.signals.tables.missing_codes import NO_CODES, Codes, is_code

Value = str | float


def known_value(value: Any, codes: Codes = NO_CODES) -> Value | None:
    """A finite number, also one written as text; a text; or None where nothing is known."""
    found = _number_or_text(value)
    return None if found is None or is_code(found, codes) else found


def _number_or_text(value: Any) -> Value | None:
    if isinstance(value, str):
        if cells.is_missing(value):
            return None
        found = cells.number(value)
        return value.strip() if found is None else found
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None if value is None else str(value).strip()
    return found if math.isfinite(found) else None
