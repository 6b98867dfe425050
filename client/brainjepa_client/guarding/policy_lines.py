"""Which line of a site's YAML says what may leave: the file's own line, or the default."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from brainjepa_client.settings import PolicySettings
from brainjepa_core.yaml_file import read_yaml


@dataclass(frozen=True)
class PolicyLine:
    """A field of the policy, its value in force, and where that is written.

    Attributes
    ----------
    field, value : str
    file : str
        Name of the YAML.
    line : int, optional
        From 1; None where the file leaves the field out and the default holds.
    """

    field: str
    value: str
    file: str
    line: int | None

    def __str__(self) -> str:
        place = "default" if self.line is None else f"{self.file} line {self.line}"
        return f"{place}: {self.field}: {self.value}"


def policy_lines(path: Path, policy: PolicySettings) -> dict[str, PolicyLine]:
    """Find where each field of a policy comes from.

    Parameters
    ----------
    path : Path
        YAML of a site, as `brainjepa_core.settings.read_settings` has read it without complaint.
    policy : PolicySettings
        What was read from it.

    Returns
    -------
    dict
        A `PolicyLine` for every field of `PolicySettings`.
    """
    document = read_yaml(path)
    return {
        field: PolicyLine(
            field, _text(getattr(policy, field)), path.name, document.line(("policy", field))
        )
        for field in PolicySettings.model_fields
    }


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value)
