"""A YAML to begin with: what is known is written, all else stands there as comments."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from brainjepa_core.command.settings_schema import schema_of

WIDTH = 100
HOW = "A key behind a '#' shows its default: take the '#' away to change it."


def commented_yaml(kind: type[BaseModel], values: Mapping[str, Any], heading: str) -> str:
    """Text of a YAML that holds some values, and explains every key.

    Parameters
    ----------
    kind : type
        Settings that such a file is read into.
    values : mapping
        Values by key, nested as the settings are; keys that they lack are comments.
    heading : str
        What the file is for.
    """
    schema = schema_of(kind)
    lines = [*_comment(heading, ""), *_comment(HOW, "")]
    for block in _blocks(schema, schema.get("$defs", {}), values, "", None):
        lines += ["", *block]
    return "\n".join(lines) + "\n"


def _blocks(
    schema: Mapping[str, Any],
    defs: Mapping[str, Any],
    values: Mapping[str, Any],
    indent: str,
    off: str | None,
) -> Iterator[list[str]]:
    """Lines of each field: what it is, its key, and what is within it.

    `off` is the indentation of the outermost field around these that is a comment; None without.
    """
    whole = schema.get("anyOf", [schema])[-1]
    for name, field in whole["properties"].items():
        model = _model(field, defs)
        at = indent if off is None and name not in values else off
        start = indent if at is None else f"{at}#{indent.removeprefix(at)}"
        lines = _comment(_explanation(field, model), indent)
        value = values.get(name, field.get("default", ...))
        if model is None or (name in values and not isinstance(value, Mapping)):
            yield [*lines, f"{start}{name}:" + ("" if value is ... else f" {_flow(value)}")]
            continue
        lines.append(f"{start}{name}:")
        for block in _blocks(model, defs, values.get(name, {}), f"{indent}  ", at):
            lines += block
        yield lines


def _model(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The model whose fields a field holds; None where it holds a value or a list."""
    found = [one["$ref"] for one in (field, *field.get("anyOf", ())) if "$ref" in one]
    return defs[found[0].rpartition("/")[2]] if found else None


def _explanation(field: Mapping[str, Any], model: Mapping[str, Any] | None) -> str:
    text = str(field.get("description") or (model or {}).get("description", ""))
    kinds = (field, *field.get("anyOf", ()))
    words = next((", ".join(map(str, one["enum"])) for one in kinds if "enum" in one), "")
    return f"{text} One of: {words}." if words else text


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {part}" for part in textwrap.wrap(text, WIDTH - len(indent) - 2)]


def _flow(value: Any) -> str:
    """A value as YAML writes it on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
