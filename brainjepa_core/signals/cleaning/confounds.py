"""fMRIPrep's confounds of a scan, chosen by nilearn's strategies under the names of our presets.

Shapes: F frames, C regressors.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nilearn.interfaces.fmriprep import load_confounds

from brainjepa_core.arrays import Float64
from brainjepa_core.problems import plainly
from brainjepa_core.signals.cleaning.displacement import FD, known_displacement
from brainjepa_core.signals.preparation import CleaningSettings
from brainjepa_core.signals.problems import ScanProblem, UnusableProblem, is_there, require_there
from brainjepa_core.signals.scan import Mask
from brainjepa_core.signals.tables.cells import has_decimal_comma, is_missing, number, repeated

COMPCOR = "motion24_acompcor"  # reads from the table's JSON which component is of which tissue
MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
TISSUES = ("white_matter", "csf")
DVARS, NOT_STEADY = "std_dvars", "non_steady_state"
FULL = ("", "_derivative1", "_power2", "_derivative1_power2")

# Arguments of nilearn's load_confounds, and the columns it will look for.
PRESETS: dict[str, dict[str, Any]] = {
    "simple_motion": {"strategy": ("motion", "high_pass"), "motion": "basic"},
    COMPCOR: {
        "strategy": ("motion", "high_pass", "compcor"),
        "motion": "full",
        "compcor": "anat_separated",
        "n_compcor": 5,
    },
    "motion36": {
        "strategy": ("motion", "high_pass", "wm_csf", "global_signal"),
        "motion": "full",
        "wm_csf": "full",
        "global_signal": "full",
    },
}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "none": (),
    "simple_motion": MOTION,
    COMPCOR: tuple(name + end for name in MOTION for end in FULL),
    "motion36": tuple(name + end for name in (*MOTION, *TISSUES, "global_signal") for end in FULL),
}


@dataclass(frozen=True)
class Confounds:
    """What cleaning needs of a scan.

    Attributes
    ----------
    regressors : ndarray of float64 [F, C], optional
    names : tuple of str
        C names.
    keep : ndarray of bool [F]
        False for frames censored, and for those before the steady state.
    fd : ndarray of float64 [F], optional
        Framewise displacement in mm, 0 for the first frame.
    """

    regressors: Float64 | None
    names: tuple[str, ...]
    keep: Mask
    fd: Float64 | None


def check_columns(table: Path, settings: CleaningSettings) -> None:
    """Compare the header line of a confounds table with what the preset needs.

    Raises
    ------
    ScanProblem
        Naming the columns that are missing, or one that is there twice.
    """
    require_there(table)
    try:
        with table.open(encoding="utf-8-sig") as stream:
            columns = stream.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(
            table, "a confounds table in UTF-8", plainly(error), "write it again"
        ) from error
    twice = repeated(columns)
    if twice is not None:
        raise ScanProblem(
            table, "each column once", f"'{twice}' twice in the first line", "keep the right one"
        )
    needed = list(_COLUMNS[settings.preset])
    if settings.scrub:
        needed += [FD, DVARS]
    missing = [name for name in needed if name not in columns]
    if settings.preset == COMPCOR and not any("comp_cor" in name for name in columns):
        missing.append("a_comp_cor_00")
    if missing:
        raise ScanProblem(
            table,
            f"the columns of preset '{settings.preset}'{' with scrub' if settings.scrub else ''}",
            f"{len(missing)} missing ({', '.join(missing[:3])})",
            "run fMRIPrep with its confounds, or choose another cleaning.preset",
        )
    if settings.preset == COMPCOR and not is_there(table.with_suffix(".json")):
        raise ScanProblem(
            table,
            f"its JSON beside it for preset '{COMPCOR}'",
            "none",
            "copy it there from fMRIPrep's output, or choose another cleaning.preset",
        )


def read_confounds(
    image: Path, table: Path | None, settings: CleaningSettings, frames: int
) -> Confounds:
    """Regressors, censoring and displacement of a scan.

    Parameters
    ----------
    image : Path
        As fMRIPrep names it; nilearn finds the table by this name.
    table : Path, optional
        The confounds table; may be missing with preset ``none`` and no scrubbing.
    settings : CleaningSettings
    frames : int
        F of the image.

    Raises
    ------
    ScanProblem
        If table and preset or table and image do not fit one another.
    """
    if table is None:
        return Confounds(None, (), np.ones(frames, bool), None)
    check_columns(table, settings)
    content = _read(table, frames)
    if settings.scrub:
        _require_known(content, table)
    fd, dvars = (_numbers(content, name, table) for name in (FD, DVARS))
    fd = None if fd is None else known_displacement(fd, table)
    keep, values, names = _steady(content, table), None, ()
    if settings.preset != "none" or settings.scrub:
        regressors, kept = _load(image, table, content, settings)
        keep &= kept
        values, names = regressors.to_numpy(np.float64), tuple(regressors.columns)
    if not keep.any():
        raise _nothing_left(table, fd, dvars, frames, settings)
    if not names:
        return Confounds(None, (), keep, fd)
    if not np.isfinite(values).all():
        bad = [names[place] for place in np.flatnonzero(~np.isfinite(values).all(0))]
        raise ScanProblem(
            table, "numbers in every row", f"gaps in {', '.join(bad[:3])}", "write the table again"
        )
    return Confounds(values, names, keep, fd)


def _steady(content: pd.DataFrame, table: Path) -> Mask:
    """Frames that no column flags as before the steady state; nilearn finds the same ones."""
    keep = np.ones(len(content), bool)
    for name in content:
        if name.startswith(NOT_STEADY):
            keep &= _numbers(content, name, table) != 1
    return keep


def _load(
    image: Path, table: Path, content: pd.DataFrame, settings: CleaningSettings
) -> tuple[pd.DataFrame, Mask]:
    """Regressors, and the frames kept, as nilearn finds them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            regressors, kept = load_confounds(str(image), **_arguments(settings))
    except Exception as error:  # nilearn raises what its parts raise; its text says which part
        for name in content:
            _numbers(content, name, table)
        raise ScanProblem(
            table,
            f"confounds that nilearn can read for preset '{settings.preset}'",
            " ".join(str(error).split())[:200] or plainly(error),
            "run fMRIPrep with its confounds, or choose another cleaning.preset",
        ) from error
    keep = np.full(len(content), kept is None)
    if kept is not None:
        keep[kept] = True
    return regressors, keep


def _require_known(content: pd.DataFrame, table: Path) -> None:
    """Refuse to scrub by what is not known: nilearn would keep those frames."""
    for name in (FD, DVARS):
        values = _numbers(content, name, table)
        unknown = len(content) - 1 if values is None else int(np.isnan(values[1:]).sum())
        if unknown:
            raise ScanProblem(
                table,
                f"{name} of every frame but the first for cleaning.scrub",
                f"{unknown} of {len(content)} frames without a number",
                "run fMRIPrep's confounds again, or set cleaning.scrub: false",
            )


def _nothing_left(
    table: Path, fd: Float64 | None, dvars: Float64 | None, frames: int, settings: CleaningSettings
) -> UnusableProblem:
    """Why there is nothing to clean: how many frames are beyond which threshold."""
    limits = (
        ("fd_threshold", settings.fd_threshold, " mm", fd),
        ("dvars_threshold", settings.dvars_threshold, "", dvars),
    )
    beyond = [
        f"{int((values > limit).sum())} beyond {name} {limit:g}{unit}"
        for name, limit, unit, values in limits
        if settings.scrub and values is not None
    ]
    found = f"none of {frames} left ({', '.join(beyond) or 'none is of the steady state'}"
    short = "; stretches of fewer than five frames between them go too" if beyond else ""
    return UnusableProblem(
        table,
        "frames that are not censored",
        f"{found}{short})",
        "raise the thresholds under cleaning, or leave the scan out",
    )


def _arguments(settings: CleaningSettings) -> dict[str, Any]:
    """Of nilearn's load_confounds."""
    chosen: dict[str, Any] = {"strategy": (), **PRESETS.get(settings.preset, {})}
    if settings.scrub:
        chosen["strategy"] = (*chosen["strategy"], "scrub")
        chosen["fd_threshold"] = settings.fd_threshold
        chosen["std_dvars_threshold"] = settings.dvars_threshold
    return chosen


def _read(table: Path, frames: int) -> pd.DataFrame:
    """The table as text; also the place where a table of another scan shows."""
    try:
        content = pd.read_csv(
            table, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise ScanProblem(
            table, "a tab-separated table", plainly(error), "write it again"
        ) from error
    if len(content) != frames:
        raise ScanProblem(
            table,
            f"{frames} rows, one a frame of the image",
            f"{len(content)}",
            "give the table of this scan",
        )
    return content


def _numbers(content: pd.DataFrame, name: str, table: Path) -> Float64 | None:
    """A column [F], NaN where nothing is known; None where there is no such column."""
    if name not in content:
        return None
    cells = content[name].tolist()
    numbers = [nan if is_missing(cell) else number(cell) for cell in cells]
    if None in numbers:
        row = numbers.index(None)
        comma = has_decimal_comma(cells[row])
        found = f"{'a decimal comma' if comma else 'text'} in line {row + 2}"
        mend = "write points, as fMRIPrep does" if comma else "write n/a where it is not known"
        raise ScanProblem(table, f"numbers in column {name}", found, mend)
    return np.array(numbers, np.float64)
