"""YAML files to frozen, checked settings, with errors that name the line's place and the mend."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from brainjepa_core.problems import value_in_words
from brainjepa_core.yaml_file import read_yaml

Settings = TypeVar("Settings", bound=BaseModel)


class Frozen(BaseModel):
    """What is told once and holds: no field changes, none is unknown, no number is NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def from_its_file(path: Path, info: ValidationInfo) -> Path:
    """A path in a YAML starts at that file's folder; ``~`` is the home folder."""
    path = path.expanduser()
    return path if info.context is None else info.context["folder"] / path


FilePath = Annotated[Path, AfterValidator(from_its_file)]


def read_settings(path: str | Path, kind: type[Settings], **overrides: Any) -> Settings:
    """Read a YAML file into settings of a kind.

    Parameters
    ----------
    path : path
    kind : type
        A pydantic model. Its fields of type `FilePath` start at the file's folder.
    **overrides
        Fields that replace those of the file.

    Raises
    ------
    ValueError
        A line for every field that does not fit: where it is, what was expected, what was found.
    """
    path = Path(path)
    document = read_yaml(path)
    content = {} if document.content is None else document.content
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name} line 1: expected fields with values, found {value_in_words(content)}; "
            "write one 'field: value' a line"
        )

    def place(field: Sequence[Hashable]) -> str:
        line = document.nearest_line(field)
        return f"{path.name}: " if line is None else f"{path.name} line {line}: "

    try:
        return kind.model_validate({**content, **overrides}, context={"folder": path.parent})
    except ValidationError as error:
        raise ValueError("\n".join(list_problems(error, place))) from error


def list_problems(
    error: ValidationError, place: Callable[[Sequence[Hashable]], str] = lambda _: ""
) -> list[str]:
    """Every field that does not fit, one line each: where it is, what was expected and found.

    Parameters
    ----------
    error : ValidationError
    place : callable, optional
        From the steps to a field to what stands before its name.
    """
    problems = []
    for part in error.errors(include_url=False):
        where = ".".join(str(step) for step in part["loc"])
        if part["type"] == "missing":
            problem = "expected a value, found none; add the field"
        elif part["type"] == "extra_forbidden":
            problem = "no such field; check the spelling or remove it"
        elif part["type"] == "value_error":  # our own text, which says what was found
            problem = part["msg"].removeprefix("Value error, ")
        else:
            problem = f"{part['msg']} (found {part['input']!r})"
        text = f"{where}: {problem}" if where else problem
        problems.append(place(part["loc"]) + " ".join(text.split()))
    return problems


def problems_of(error: ValidationError) -> str:
    """Every field that does not fit, in one line."""
    return "; ".join(list_problems(error))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as pairs of a dotted name and a value."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
