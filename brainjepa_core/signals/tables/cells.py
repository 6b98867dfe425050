"""Cells of tables: which words say that nothing is known, and what is a number.

Every reader of a table asks here, so that one file says one thing whoever reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# BIDS' n/a, R's NA, pandas' NaN and <NA>, Python's None, SQL's NULL, a spreadsheet's #N/A.
# A lone point is SAS' and Stata's; #NULL! is SPSS'.
MISSING = frozenset({"", "n/a", "na", "nan", "-nan", "<na>", "#n/a", "null", "none", ".", "#null!"})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def is_missing(cell: str) -> bool:
    """Whether a cell says that nothing is known: `MISSING`, in any case, spaces aside."""
    return cell.strip().lower() in MISSING


def number(cell: str) -> float | None:
    """The finite number that a cell holds; None where it holds none.

    Nothing is guessed: ``1_000`` is a name (Python's own `float` takes it for 1000), ``34,5`` is
    text (a comma separates decimals here and thousands there), and so are ``inf`` and ``1e999``.

    Parameters
    ----------
    cell : str

    Returns
    -------
    float or None
    """
    cell = cell.strip()
    if not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    return value if math.isfinite(value) else None


def number_or_text(cell: str) -> float | str:
    """A number, or the text as it is."""
    value = number(cell)
    return cell if value is None else value


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell looks like a number with a comma, which is left as text and told."""
    return _DECIMAL_COMMA.fullmatch(cell.strip()) is not None


def repeated(names: Iterable[str]) -> str | None:
    """The first name that is there twice, spaces and case aside; empty ones do not count."""
    seen: set[str] = set()
    for name in names:
        bare = name.strip().casefold()
        if bare and bare in seen:
            return name.strip()
        seen.add(bare)
    return None
