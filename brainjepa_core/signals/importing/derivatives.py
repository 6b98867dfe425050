"""Prepared series as a BIDS derivative dataset, for the tools that a site uses besides this one.

Names follow BIDS 1.11: ``sub-01_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv`` with a JSON
beside it, and ``dataset_description.json`` at the root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.atlas import DEFAULT_ATLAS, Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.version import VERSION

ATLAS_LABELS = {DEFAULT_ATLAS: "Schaefer400TianS3"}
BIDS_VERSION = "1.11.0"
DIGITS = 7  # float32's


def write_description(folder: Path) -> None:
    """Write ``dataset_description.json`` of a derivative dataset."""
    content = {
        "Name": "Parcellated time series",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainjepa-federated", "Version": VERSION}],
    }
    _write_json(folder / "dataset_description.json", content)


def clear_half_written(folder: Path) -> None:
    """Remove tables that a kill left half-written."""
    for path in folder.glob("sub-*/**/.sub-*_timeseries.*.tmp"):
        path.unlink()


def write_derivative(
    folder: Path,
    key: tuple[str, str, str],
    space: str,
    atlas: Atlas,
    series: NDArray[np.floating],
    sidecar: Mapping[str, Any],
) -> Path:
    """Write one scan's table and its JSON, each in one step.

    Parameters
    ----------
    folder : Path
        Root of the dataset.
    key : tuple of str
        Subject, session and run as in the store.
    space : str
        BIDS ``space`` of the images; empty where the input came without.
    atlas : Atlas
    series : ndarray [R, F]
        A row of NaN becomes a column of ``n/a``.
    sidecar : mapping
        Content of the JSON.

    Returns
    -------
    Path
        Of the table.
    """
    stem, place = derivative_name(key, space, atlas), folder / _label("sub", key[0])
    if key[1]:
        place /= f"ses-{_plain(key[1])}"
    table = place / "func" / f"{stem}.tsv"
    _write_json(table.with_suffix(".json"), sidecar)
    rows = ["\t".join(atlas.rois)]
    for frame in np.asarray(series).T:
        cells = (f"{value:.{DIGITS}g}" if np.isfinite(value) else "n/a" for value in frame.tolist())
        rows.append("\t".join(cells))
    with atomic_path(table) as temporary:
        temporary.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def remove_derivatives(folder: Path, subject: str, name: str = "") -> None:
    """Remove a person's tables and their JSON; other files of a folder stay.

    Parameters
    ----------
    folder : Path
        Root of the dataset.
    subject : str
        With or without ``sub-``.
    name : str
        Of one scan's files, as `derivative_name` gives it; all of the person's by default.
    """
    person = folder / _label("sub", subject)
    for path in person.rglob(f"{name or _label('sub', subject) + '_*_timeseries'}.*"):
        if path.suffix in (".tsv", ".json") and "_stat-mean_" in path.name:
            path.unlink()
    for place in sorted((p for p in person.rglob("*") if p.is_dir()), reverse=True):
        _remove_empty(place)
    _remove_empty(person)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def require_names_apart(keys: Iterable[tuple[str, str, str]], atlas: Atlas) -> None:
    """Refuse scans whose files would have one name, since one would replace the other.

    BIDS' labels are letters and digits: ``S1_2`` and ``S12`` become one person.

    Raises
    ------
    ValueError
        Naming two of them: for the site's own eyes.
    """
    first: dict[str, tuple[str, str, str]] = {}
    for key in keys:
        name = derivative_name(key, "", atlas)
        if name in first:
            one, other = (" ".join(filter(None, scan)) for scan in (first[name], key))
            raise ValueError(
                f"expected scans whose BIDS names differ for prepare.derivatives, found '{one}' "
                f"and '{other}' under one; rename one, or leave prepare.derivatives out"
            )
        first[name] = key


def derivative_name(key: tuple[str, str, str], space: str, atlas: Atlas) -> str:
    """Stem of a scan's files; a run without entities becomes the ``run`` of a rest scan."""
    subject, session, run = key
    entities = [_label("sub", subject)]
    if session:
        entities.append(f"ses-{_plain(session)}")
    if re.fullmatch(r"[a-z]+-[^_]+(_[a-z]+-[^_]+)*", run):
        entities.append(run if run.startswith("task-") else f"task-rest_{run}")
    else:
        entities.append("task-rest" + (f"_run-{_plain(run)}" if run else ""))
    if space:
        entities.append(f"space-{_plain(space)}")
    entities.append(f"atlas-{ATLAS_LABELS.get(atlas.name, _plain(atlas.name))}")
    return "_".join([*entities, "stat-mean", "timeseries"])


def _label(entity: str, value: str) -> str:
    return f"{entity}-{_plain(value.removeprefix(f'{entity}-'))}"


def _plain(value: str) -> str:
    """A BIDS label: letters and digits."""
    return "".join(character for character in value if character.isalnum()) or "x"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        text = json.dumps(dict(content), indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
