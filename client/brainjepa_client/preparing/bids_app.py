"""The call that BIDS Apps share: ``IN OUT participant [--participant-label 01 02]``.

It stands for a site's YAML: OUT becomes a derivative dataset with the store beside it, and
``OUT/site.yaml`` says how, so that later commands need that file alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from brainjepa_client.settings import SiteSettings
from brainjepa_core.files import atomic_path, require_outside
from brainjepa_core.settings import list_problems, read_settings

INPUT = ("label_image", "label_table", "space", "res", "den", "cohort", "mask", "task")
PREPARATION = ("atlas", "processes")
LEVELS = ("participant", "group")
SITE_FILE = "site.yaml"
OPTIONS = {  # of a call, and their fields in a site's YAML
    "atlas": "prepare.atlas",
    "cohort": "prepare.input.cohort",
    "den": "prepare.input.den",
    "label_image": "prepare.input.label_image",
    "label_table": "prepare.input.label_table",
    "mask": "prepare.input.mask",
    "name": "name",
    "preset": "prepare.cleaning.preset",
    "processes": "prepare.processes",
    "res": "prepare.input.res",
    "space": "prepare.input.space",
    "task": "prepare.input.task",
}
IGNORED = ("store/", "store-quality/", "state/", SITE_FILE)  # by tools that check the dataset


def settings_of_word(word: str) -> SiteSettings | None:
    """Of a word of ``site prepare``: the site, where it is a YAML, and None in a BIDS App call."""
    is_yaml = Path(word).suffix in (".yaml", ".yml")
    return read_settings(Path(word).absolute(), SiteSettings) if is_yaml else None


def site_of_call(
    words: Sequence[str], labels: Sequence[str], options: Mapping[str, Any]
) -> tuple[SiteSettings, str, tuple[str, ...]]:
    """Settings, level and people of a call.

    Parameters
    ----------
    words : sequence of str
        IN, OUT, level, and labels that the shell's split left behind ``--participant-label``.
    labels : sequence of str
        Of ``--participant-label``, with or without ``sub-``.
    options : mapping
        Of `OPTIONS`, those that are given.

    Raises
    ------
    ValueError
        If the call is incomplete, the settings do not fit, or OUT is that of another call.
    """
    if len(words) < 3 or words[2] not in LEVELS or (len(words) > 3 and not labels):
        raise ValueError(
            "expected SITE.yaml, or IN OUT participant [--participant-label 01 02], found "
            f"'{' '.join(words)}'; the level is {' or '.join(LEVELS)}"
        )
    source, out = Path(words[0]), Path(words[1])
    outer = {key: options[key] for key in PREPARATION if key in options}
    inner = {key: options[key] for key in INPUT if key in options}
    content = {
        "name": options.get("name", "site"),
        "prepare": {
            "input": {"kind": "fmriprep", "folder": str(source), **inner},
            **outer,
            "cleaning": {"preset": options["preset"]} if "preset" in options else {},
            "derivatives": str(out),
        },
        "store": str(out / "store"),
        "state": str(out / "state"),
    }
    require_outside(out, source)
    try:  # words of a call start where it is made; those of OUT/site.yaml, nowhere
        settings = SiteSettings.model_validate(content, context={"folder": Path.cwd()})
    except ValidationError as error:
        raise ValueError("\n".join(map(_of_a_call, list_problems(error)))) from error
    if (out / SITE_FILE).exists() and (out / SITE_FILE).read_text("utf-8") != _yaml(settings):
        raise ValueError(
            f"expected '{out / SITE_FILE}' as this call would write it, found another; go on with "
            "that file (brainjepa site prepare SITE.yaml), or give another OUT"
        )
    return settings, words[2], (*labels, *words[3:])


def write_site_file(out: Path, settings: SiteSettings) -> None:
    """Write ``OUT/site.yaml``, which later commands are given, and what BIDS tools pass over."""
    for name, text in ((SITE_FILE, _yaml(settings)), (".bidsignore", "\n".join(IGNORED) + "\n")):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def refuse_beside_yaml(site: str, options: Iterable[str]) -> None:
    """Refuse options of a call beside a site's YAML, saying where in it they belong.

    Raises
    ------
    ValueError
    """
    given = sorted(options)
    if given:
        fields = ", ".join(OPTIONS[name] for name in given)
        raise ValueError(
            f"expected {', '.join(map(_flag, given))} in a call IN OUT participant only, found "
            f"beside '{site}'; write it into that file ({fields}), or leave it out"
        )


def _yaml(settings: SiteSettings) -> str:
    content = settings.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _of_a_call(problem: str) -> str:
    """A problem of settings, in the words of the call."""
    words = {field: _flag(name) for name, field in OPTIONS.items()}
    # What the input as a whole lacks is its image.
    words |= {"prepare.input.folder": "IN", "prepare.input": "--label-image"}
    field, colon, text = problem.partition(": ")
    return words.get(field, field) + colon + text.replace(", which starts at the YAML's folder", "")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
