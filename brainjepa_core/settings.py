"""YAML files to frozen, checked settings, with errors that name the line's place and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: str | Path, kind: type[Settings]) -> Settings:
    """Read a YAML file into settings of a kind.

    Raises
    ------
    ValueError
        Listing every field that does not fit: where it is, what was expected, what was found.
    """
    name = Path(path).name
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
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
        return kind(**content)
    except ValidationError as error:
        raise ValueError(f"{name}: " + "; ".join(_problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for part in error.errors(include_url=False):
        where = ".".join(str(step) for step in part["loc"]) or "the whole file"
        if part["type"] == "missing":
            problems.append(f"{where}: expected a value, found none; add the field")
        elif part["type"] == "extra_forbidden":
            problems.append(f"{where}: no such field; check the spelling or remove it")
        else:
            message = part["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {message} (found {part['input']!r})")
    return problems
