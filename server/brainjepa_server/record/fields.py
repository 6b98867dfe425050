"""Fields of what a study records: numbers that may be unknown, reasons in words, settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, SupportsFloat

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LONGEST_REASON = 500  # characters of a site's refusal that are kept


def _finite(value: Any) -> Any:
    """None for what is no number; numbers of numpy become Python's."""
    if isinstance(value, SupportsFloat) and not isinstance(value, str | bool):
        number = float(value)
        return number if math.isfinite(number) else None
    return value


def _finite_inside(value: Any) -> Any:
    """Nested settings as JSON holds them, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _finite_inside(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_inside(inner) for inner in value]
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


Number = Annotated[float | None, BeforeValidator(_finite)]
Reason = Annotated[str, BeforeValidator(lambda text: str(text)[:LONGEST_REASON])]
Settings = Annotated[dict[str, Any], BeforeValidator(_finite_inside)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """What all parts of a record are: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)
