"""Which line of a site's YAML says what may leave: the file's own line, or the default."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from brainjepa_client.settings import PolicySettings


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
    loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    places = _keys(loader, loader.get_single_node())
    written = _keys(loader, places["policy"][1]) if "policy" in places else {}
    lines = {}
    for field in PolicySettings.model_fields:
        line = written[field][0] if field in written else None
        lines[field] = PolicyLine(field, _text(getattr(policy, field)), path.name, line)
    return lines


def _keys(loader: yaml.SafeLoader, node: yaml.Node | None) -> dict[str, tuple[int, yaml.Node]]:
    """Line and value of each key; of one written twice, the last counts, as in YAML's reading."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    loader.flatten_mapping(node)  # keys that come by `<<` from elsewhere in the file
    return {key.value: (key.start_mark.line + 1, value) for key, value in node.value}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return json.dumps(value)
