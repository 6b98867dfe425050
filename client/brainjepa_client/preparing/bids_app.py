"""The call that BIDS Apps share: ``IN OUT participant [--participant-label 01 02]``.

It stands for a site's YAML: OUT becomes a derivative dataset with the store beside it, and
``OUT/site.yaml`` says how, so that later commands need that file alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from brainjepa_client.settings import SiteSettings
from brainjepa_core.files import atomic_path

PREPARATION = ("atlas", "cleaning", "processes")
LEVELS = ("participant", "group")
SITE_FILE = "site.yaml"
IGNORED = ("store/", "store-quality/", "state/", SITE_FILE)  # by tools that check the dataset


def site_of_call(
    words: Sequence[str], labels: Sequence[str], options: Mapping[str, Any]
) -> tuple[SiteSettings, str, tuple[str, ...]]:
    """Settings, level and people of a call; writes ``OUT/site.yaml``.

    Parameters
    ----------
    words : sequence of str
        IN, OUT, level, and labels that the shell's split left behind ``--participant-label``.
    labels : sequence of str
        Of ``--participant-label``, with or without ``sub-``.
    options : mapping
        Fields of `brainjepa_core.signals.preparation.InputSettings`; ``atlas``, ``cleaning`` and
        ``processes`` of the preparation; ``name`` of the site.

    Raises
    ------
    ValueError
        If the call is incomplete or the settings do not fit.
    """
    if len(words) < 3 or words[2] not in LEVELS or (len(words) > 3 and not labels):
        raise ValueError(
            "expected SITE.yaml, or IN OUT participant [--participant-label 01 02], found "
            f"'{' '.join(words)}'; the level is one of {', '.join(LEVELS)}"
        )
    source, out = Path(words[0]), Path(words[1])
    outer = {key: options[key] for key in PREPARATION if key in options}
    inner = {key: options[key] for key in options if key not in (*PREPARATION, "name")}
    settings = SiteSettings.model_validate(
        {
            "name": options.get("name", "site"),
            "prepare": {
                "input": {"kind": "fmriprep", "folder": str(source), **inner},
                **outer,
                "derivatives": str(out),
            },
            "store": str(out / "store"),
            "state": str(out / "state"),
        },
        context={"folder": Path.cwd()},  # words of a call start there; in OUT/site.yaml, nowhere
    )
    with atomic_path(out / SITE_FILE) as temporary:
        content = settings.model_dump(mode="json", exclude_defaults=True)
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    with atomic_path(out / ".bidsignore") as temporary:
        temporary.write_text("\n".join(IGNORED) + "\n")
    return settings, words[2], (*labels, *words[3:])
