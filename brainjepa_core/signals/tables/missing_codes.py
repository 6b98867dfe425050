"""Numbers that stand for "not known" in tables of people: said by a site, or only looking so.

ABIDE writes -9999, SPSS and REDCap exports have 99, 999 or 88, PLINK has -9. What is said to be
such a code counts as missing wherever a table is read; what only looks like one is never dropped,
but told, and refused where it would be learned from.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from brainjepa_core.signals.tables.cells import number

Codes = frozenset[str | float]
NO_CODES: Codes = frozenset()

LOW = (-9.0, -77.0, -88.0, -99.0, -777.0, -888.0, -999.0, -9999.0, -99999.0)
HIGH = (77.0, 88.0, 99.0, 777.0, 888.0, 999.0, 7777.0, 8888.0, 9999.0, 99999.0)
AGES = (0.0, 120.0)  # years
AGE_COLUMNS = ("age", "age_at_scan", "age_years")
_KEYS = ("missingvalue", "missingvalues", "missingcode", "missingcodes", "navalue", "navalues")
_LABEL = re.compile(
    r"n/?a|no data|(?:missing|not available|not recorded|not collected)(?: data| values?)?"
)


def codes_of(told: Iterable[Any]) -> Codes:
    """Values that are said to stand for "not known", in the form in which cells are compared.

    Parameters
    ----------
    told : iterable
        Numbers, also written as text, and words, whose case makes no difference.
    """
    return frozenset(_alike(value) for value in told)


def is_code(value: str | float, codes: Codes) -> bool:
    """Whether a value is one of the codes."""
    return bool(codes) and _alike(value) in codes


def codes_in_sidecar(facts: Mapping[str, Any]) -> Codes:
    """Codes that a column's JSON tells: ``MissingValue``, or ``Levels`` called missing."""
    told: list[Any] = []
    for key, value in facts.items():
        if key.replace("_", "").casefold() in _KEYS:
            told += value if isinstance(value, list) else [value]
    levels = facts.get("Levels")
    for value, label in levels.items() if isinstance(levels, dict) else ():
        text = label.get("Description") if isinstance(label, dict) else label
        if isinstance(text, str) and _LABEL.fullmatch(text.strip().casefold()):
            told.append(value)
    return codes_of(value for value in told if isinstance(value, str | int | float))


class CodesByColumn(dict[str, Codes]):
    """By column, what stands for "not known": what the site and the column's JSON say."""

    def __init__(
        self, missing: Iterable[str | float], columns: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._everywhere = codes_of(missing)
        super().__init__(
            {name: self._everywhere | codes_in_sidecar(facts) for name, facts in columns.items()}
        )

    def __missing__(self, column: str) -> Codes:
        return self._everywhere


def suspects(values: Iterable[Any]) -> dict[float, int]:
    """Numbers that look like codes for "not known", with how many values have them.

    A number of `LOW` does where none of the others is negative, or it lies further below them
    than they lie apart; one of `HIGH` where it lies that far above them; and each among words.

    Parameters
    ----------
    values : iterable
        Of one column: numbers and texts.
    """
    every = list(values)
    found = Counter(v for v in every if isinstance(v, float) and v in {*LOW, *HIGH})
    if not found:
        return {}
    plain = [v for v in every if isinstance(v, float) and v not in found]
    words = any(isinstance(v, str) for v in every)
    return {v: n for v, n in sorted(found.items()) if words or _stands_out(v, plain)}


def are_ages(values: Iterable[Any]) -> bool:
    """Whether all values are ages in years, and none of them looks like a code."""
    numbers = [float(v) if isinstance(v, float | int) else math.nan for v in values]
    return all(AGES[0] <= v <= AGES[1] for v in numbers) and not suspects(numbers)


def outside_of_life(column: str, values: Iterable[Any]) -> int:
    """How many numbers of a column of ages can be no years of a life."""
    if column.casefold() not in AGE_COLUMNS:
        return 0
    return sum(isinstance(v, float) and not AGES[0] <= v <= AGES[1] for v in values)


def _stands_out(code: float, plain: list[float]) -> bool:
    if not plain:
        return code in LOW
    spread = max(plain) - min(plain)
    if code in LOW:
        return min(plain) >= 0 or code < min(plain) - spread
    return code > max(plain) + spread


def _alike(value: Any) -> str | float:
    if isinstance(value, str):
        found = number(value)
        return value.strip().casefold() if found is None else found
    return float(value)
