"""``brainjepa site init``: a site's YAML, from options or a dialogue, with every key explained."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.markup import escape

from brainjepa_core.command.terminal import (
    console,
    errors_in_one_line,
    file_to_write,
    folder_to_write,
)
from brainjepa_core.files import atomic_path
from brainjepa_core.signals.preparation import Kind
from brainjepa_core.signals.storing.store_header import HEADER

# What a kind of scans cannot be read without, beside their folder; asked for in the dialogue.
NEEDED = {"fmriprep": ("label_image",), "series": ("names",)}
QUESTIONS = {
    "name": "What is this site called? Letters, digits, - and _",
    "folder": "Where are the scans?",
    "label_image": "Label image of the atlas (.nii.gz in the scans' space, or .dlabel.nii)",
    "names": "File of ROI names, one a line, in the order of columns",
}


def _folder(path: Path | None) -> Path | None:
    return None if path is None else folder_to_write(path)


def init(
    site: Annotated[
        Path, typer.Argument(metavar="SITE.yaml", help="File to write.", callback=file_to_write)
    ],
    name: Annotated[
        str | None, typer.Option(help="Of the site; what is not given is asked for.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Of the scans.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Of the scans; a file for archive.")] = None,
    label_image: Annotated[Path | None, typer.Option(help="Label image of the atlas.")] = None,
    label_table: Annotated[Path | None, typer.Option(help="Names of its labels.")] = None,
    names: Annotated[Path | None, typer.Option(help="For series: ROI names, one a line.")] = None,
    atlas: Annotated[str | None, typer.Option(help="Shipped name, or a TSV of ROI names.")] = None,
    space: Annotated[str | None, typer.Option(help="BIDS space of the images.")] = None,
    task: Annotated[str | None, typer.Option(help="BIDS task; all without.")] = None,
    tr: Annotated[float | None, typer.Option(help="Seconds, where no file says it.")] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store, there or to be made; by default store, beside the YAML.",
            callback=_folder,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the site's state; by default state, beside the YAML.", callback=_folder
        ),
    ] = None,
) -> None:
    """Write a site's YAML in which every key is explained; asks for what is not given."""
    with errors_in_one_line():
        _require_new(site)
        told: dict[str, Any] = {"name": name, "kind": kind, "folder": folder}
        told |= {"label_image": label_image, "label_table": label_table, "names": names}
        told |= {"space": space, "task": task, "tr": tr}
        told["name"] = name if name is not None else _ask("name")
        imported = store is not None and (store / HEADER).is_file() and not (kind or folder)
        if not imported and kind is None:
            told["kind"] = _ask("kind", f"Kind of scans: {', '.join(get_args(Kind))}")
        for key in () if imported else ("folder", *NEEDED.get(str(told["kind"]), ())):
            if told[key] is None:
                told[key] = Path(_ask(key))
        values: dict[str, Any] = {"name": told.pop("name")}
        if not imported:
            values["prepare"] = _prepare(told, atlas)
        values |= {"store": store, "state": state}
        text = _text(site, values)
        site.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(site) as temporary:
            temporary.write_text(text, encoding="utf-8")
        for line in (
            f"{site} written; look at its policy, and at what else it says",
            f"next: brainjepa site validate {site}",
        ):
            console.print(escape(line), highlight=False, soft_wrap=True)


def _require_new(site: Path) -> None:
    if site.exists():
        raise ValueError(
            f"expected the name of a new file, found '{site}'; edit that one, or give another name"
        )


def _ask(key: str, question: str | None = None) -> str:
    """Ask at a terminal.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not sys.stdin.isatty():
        option = f"--{key.replace('_', '-')}"
        raise ValueError(
            f"expected {option}, found neither it nor a terminal to ask at; give {option}"
        )
    return str(typer.prompt(question or QUESTIONS[key]))


def _prepare(told: dict[str, Any], atlas: str | None) -> dict[str, Any]:
    """The section that says where the scans are."""
    source = {key: value for key, value in told.items() if value is not None}
    if atlas is None:
        return {"input": source}
    return {"input": source, "atlas": Path(atlas) if Path(atlas).suffix == ".tsv" else atlas}


def _text(site: Path, values: dict[str, Any]) -> str:
    """The YAML, once it is known to be one that this site can go on with."""
    from pydantic import ValidationError

    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.command.commented_yaml import commented_yaml
    from brainjepa_core.settings import list_problems

    beside = {key: site.parent / key for key in ("store", "state") if values[key] is None}
    whole = {**values, **beside}
    try:
        SiteSettings.model_validate(_each_path(whole, lambda path: str(path.absolute())))
    except ValidationError as error:
        raise ValueError("\n".join(list_problems(error))) from error
    floor = SiteSettings.model_fields["policy"].default.min_subjects
    written = _each_path(whole, lambda path: _from(site, path))
    heading = f"Site {values['name']}. Paths start at this file's folder."
    return commented_yaml(SiteSettings, {**written, "policy": {"min_subjects": floor}}, heading)


def _each_path(values: dict[str, Any], change: Callable[[Path], Any]) -> dict[str, Any]:
    return {
        key: _each_path(value, change)
        if isinstance(value, dict)
        else change(value.expanduser())
        if isinstance(value, Path)
        else value
        for key, value in values.items()
    }


def _from(site: Path, path: Path) -> str:
    """A path of the command line, which starts where it is called, as the YAML has to say it."""
    return str(path) if path.is_absolute() else os.path.relpath(path, site.parent)
