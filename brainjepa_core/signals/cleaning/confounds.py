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
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.scan import Mask
from brainjepa_core.signals.tables.cells import has_decimal_comma, is_missing, number

COMPCOR = "motion24_acompcor"  # reads from the table's JSON which component is of which tissue
MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
TISSUES = ("white_matter", "csf")
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
        Naming the columns that are missing.
    """
    try:
        with table.open(encoding="utf-8-sig") as stream:
            columns = set(stream.readline().rstrip("\r\n").split("\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(
            table, "a confounds table in UTF-8", plainly(error), "write it again"
        ) from error
    needed = list(_COLUMNS[settings.preset])
    if settings.scrub:
        needed += [FD, "std_dvars"]
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
    fd = _displacement(table, frames)
    chosen = _arguments(settings)
    if not chosen["strategy"]:
        return Confounds(None, (), np.ones(frames, bool), fd)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            regressors, kept = load_confounds(str(image), **chosen)
    except Exception as error:  # nilearn raises what its parts raise; its text says which part
        raise ScanProblem(
            table,
            f"confounds that nilearn can read for preset '{settings.preset}'",
            " ".join(str(error).split())[:200] or plainly(error),
            "run fMRIPrep with its confounds, or choose another cleaning.preset",
        ) from error
    keep = np.ones(frames, bool)
    if kept is not None:
        keep[:] = False
        keep[kept] = True
    values = regressors.to_numpy(np.float64)
    if not np.isfinite(values).all():
        bad = regressors.columns[~np.isfinite(values).all(0)]
        raise ScanProblem(
            table, "numbers in every row", f"gaps in {', '.join(bad[:3])}", "write the table again"
        )
    if not values.shape[1]:
        return Confounds(None, (), keep, fd)
    return Confounds(values, tuple(regressors.columns), keep, fd)


def _arguments(settings: CleaningSettings) -> dict[str, Any]:
    """Of nilearn's load_confounds; an empty strategy takes nothing."""
    chosen: dict[str, Any] = {"strategy": (), **PRESETS.get(settings.preset, {})}
    if settings.scrub:
        chosen["strategy"] = (*chosen["strategy"], "scrub")
        chosen["fd_threshold"] = settings.fd_threshold
        chosen["std_dvars_threshold"] = settings.dvars_threshold
    return chosen


def _displacement(table: Path, frames: int) -> Float64 | None:
    """Framewise displacement; also the place where a table of another scan shows."""
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
    if FD not in content:
        return None
    cells = content[FD].tolist()
    numbers = [nan if is_missing(cell) else number(cell) for cell in cells]
    if None in numbers:
        comma = any(map(has_decimal_comma, cells))
        found = "a decimal comma" if comma else "text in a cell"
        mend = "write points, as fMRIPrep does" if comma else "write n/a where it is not known"
        raise ScanProblem(table, f"numbers in column {FD}", found, mend)
    return known_displacement(np.array(numbers, np.float64), table)
