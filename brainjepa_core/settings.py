"""YAML files to frozen, checked settings, with errors that name the line's place and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from brainjepa_core.problems import found_value, value_in_words
from brainjepa_core.yaml_file import Document, read_yaml

# What pydantic expected that its own text says in Python's words.
_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "fields with values",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "invalid_key": "the name of a field (in quotes, where it looks like a number)",
    "list_type": "a list",
    "model_attributes_type": "fields with values",
    "model_type": "fields with values",
    "path_type": "a path",
    "string_type": "text (in quotes, where it looks like a number)",
    "tuple_type": "a list",
}
_BOUNDS = (
    ("greater than or equal to", "a number of at least"),
    ("less than or equal to", "a number of at most"),
    ("greater than", "a number above"),
    ("less than", "a number below"),
)
Settings = TypeVar("Settings", bound=BaseModel)


class Frozen(BaseModel):
    """What is told once and holds: no field changes, none is unknown, no number is NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def from_its_file(path: Path, info: ValidationInfo) -> Path:
    """A path in a YAML starts at that file's folder; ``~`` is the home folder."""
    path = path.expanduser()
    return path if info.context is None else info.context["folder"] / path


FilePath = Annotated[Path, AfterValidator(from_its_file)]


def or_one_word(schema: dict[str, Any]) -> None:
    """In a JSON schema: a text may stand for the fields (``json_schema_extra`` of such a model)."""
    _or_of(schema, "string")


def or_yes_or_no(schema: dict[str, Any]) -> None:
    """In a JSON schema: ``true`` may stand for the fields' defaults, ``false`` for none of it."""
    _or_of(schema, "boolean")


def _or_of(schema: dict[str, Any], kind: str) -> None:
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": kind}, whole]


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
    return settings_in(read_yaml(path), Path(path), kind, **overrides)


def settings_in(document: Document, path: Path, kind: type[Settings], **overrides: Any) -> Settings:
    """As `read_settings`, of the YAML file at `path` that has been read already.

    What fields say about files is held against the disk as it is now.
    """
    content = {} if document.content is None else document.content
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name} line 1: expected fields with values, found {value_in_words(content)}; "
            "write one 'field: value' a line"
        )

    try:
        return kind.model_validate({**content, **overrides}, context={"folder": path.parent})
    except ValidationError as error:
        lines = [document.nearest_line(part["loc"]) or 0 for part in error.errors()]
        told = sorted(zip(lines, list_problems(error), strict=True), key=lambda pair: pair[0])
        places = [f"{path.name} line {line}: " if line else f"{path.name}: " for line, _ in told]
        raise ValueError(
            "\n".join(place + text for place, (_, text) in zip(places, told, strict=True))
        ) from error


def shipped_or_own(word: str | Path, folder: Path, what: str) -> Path:
    """The YAML of one's own that a word names (it ends in .yaml or .yml), or a shipped one.

    Parameters
    ----------
    word : str or path
    folder : Path
        Of the shipped ones, each ``NAME.yaml``.
    what : str
        Such as ``task``, for the error.

    Raises
    ------
    ValueError
        If none is shipped by the name.
    """
    path = Path(word)
    if path.suffix in (".yaml", ".yml"):
        return path
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if str(word) not in names:
        near = difflib.get_close_matches(str(word), names, n=1)
        raise ValueError(
            f"expected a {what} of {', '.join(names)}, or a file that ends in .yaml, found "
            f"'{path.name}'; {f'did you mean {near[0]}?' if near else 'write a YAML file for it'}"
        )
    return folder / f"{word}.yaml"


def list_problems(error: ValidationError) -> list[str]:
    """Every field that does not fit, one line each: its name, what was expected and found."""
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
            problem = f"expected {_expected(part)}, found {found_value(part['input'])}; correct it"
        text = f"{where}: {problem}" if where else problem
        problems.append(" ".join(text.split()))
    return problems


def _expected(problem: Mapping[str, Any]) -> str:
    """What pydantic expected, without Python's names for it."""
    if problem["type"] in _KINDS:
        return _KINDS[problem["type"]]
    if problem["type"] == "string_pattern_mismatch":
        return f"text of the form {problem['ctx']['pattern'].strip('^$')}"
    told: str = problem["msg"].removeprefix("Input should be ")
    for theirs, ours in _BOUNDS:
        told = told.replace(theirs, ours)
    return told


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
