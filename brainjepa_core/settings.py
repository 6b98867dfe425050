"""YAML files to frozen, checked settings, with errors that name the line's place and the mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


class Frozen(BaseModel):
    """What is told once and holds: no field changes, none is unknown, no number is NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_settings(path: str | Path, kind: type[Settings], **overrides: Any) -> Settings:
    """Read a YAML file into settings of a kind.

    Parameters
    ----------
    path : path
    kind : type
        A pydantic model.
    **overrides
        Fields that replace those of the file.

    Raises
    ------
    ValueError
        Listing every field that does not fit: where it is, what was expected, what was found.
    """
    name = Path(path).name
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # damage surfaces as yaml's errors, or as Python's (IndexError ...)
        raise ValueError(
            f"{name}: expected a readable YAML file, found {type(error).__name__}; "
            "check the path, the encoding (UTF-8) and the indentation"
        ) from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ValueError(
            f"{name}: expected fields with values, found a {type(content).__name__}; "
            "write one 'field: value' a line"
        )
    try:
        return kind.model_validate({**content, **overrides})
    except ValidationError as error:
        raise ValueError(f"{name}: {problems_of(error)}") from error


def problems_of(error: ValidationError) -> str:
    """Every field that does not fit, in one line: where it is, what was expected and found."""
    problems = []
    for part in error.errors(include_url=False):
        where = ".".join(str(step) for step in part["loc"]) or "the whole file"
        if part["type"] == "missing":
            problems.append(f"{where}: expected a value, found none; add the field")
        elif part["type"] == "extra_forbidden":
            problems.append(f"{where}: no such field; check the spelling or remove it")
        elif part["type"] == "value_error":  # our own text, which says what was found
            problems.append(f"{where}: {part['msg'].removeprefix('Value error, ')}")
        else:
            problems.append(f"{where}: {part['msg']} (found {part['input']!r})")
    return "; ".join(problems)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as pairs of a dotted name and a value."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
