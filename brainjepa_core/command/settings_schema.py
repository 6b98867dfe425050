"""JSON schemas of settings, with what their docstrings say of each field, for editors and docs."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

_ATTRIBUTES = re.compile(r"^Attributes\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", re.DOTALL | re.MULTILINE)


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """JSON schema (2020-12) of a YAML that is read into settings of a kind.

    What settings check beyond the form of single fields (paths that must be there, fields that
    exclude one another) a schema does not say; `brainjepa_core.settings.read_settings` does.
    """
    schema = kind.model_json_schema(schema_generator=_Explained)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def explained(kind: type[BaseModel]) -> dict[str, str]:
    """What a model's docstring, and those of the models it extends, say of each field.

    Returns
    -------
    dict of str to str
        By the field's name, in one line of plain text; no entry of a field that is only named.
    """
    told: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        section = _ATTRIBUTES.search(inspect.cleandoc(one.__dict__.get("__doc__") or ""))
        names: list[str] = []
        own: dict[str, str] = {}
        for line in (section[1] if section else "").splitlines():
            if line[:1].strip():
                names = line.partition(" : ")[0].split(", ")
            elif line.strip():
                own |= {name: f"{own.get(name, '')} {line.strip()}".strip() for name in names}
        told |= own
    return {name: plain(text) for name, text in told.items() if name in kind.model_fields}


def plain(text: str) -> str:
    """Text of a docstring without its marks of code."""
    return re.sub(r"`+([^`]*)`+", r"\1", text)


def summary(kind: type[BaseModel]) -> str:
    """First paragraph of a docstring, in one line of plain text."""
    paragraph = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    return plain(" ".join(paragraph.split()))


class _Explained(GenerateJsonSchema):
    """Pydantic's schema, whose descriptions are the docstrings'."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """As pydantic's."""
        made = super().model_schema(schema)
        whole = made.get("anyOf", [made])[-1]  # beside the text that may stand for it
        whole["description"] = summary(schema["cls"])
        for name, text in explained(schema["cls"]).items():
            whole["properties"][name]["description"] = text
        return made
