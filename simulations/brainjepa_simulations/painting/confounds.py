"""A table of confounds as fMRIPrep writes it, with the motion that a scan is known to have.

Shapes: R ROIs, F frames, C confounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from brainjepa_core.arrays import Float64

Preset = Literal["simple_motion", "motion24_acompcor", "motion36"]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
SIGNALS = ("global_signal", "csf", "white_matter")
EXPANSIONS = ("", "_derivative1", "_power2", "_derivative1_power2")
HEAD_RADIUS_MM = 50.0  # turns rotations into displacements (Power et al. 2012, NeuroImage)
DRIFT_SECONDS = 128.0  # fMRIPrep's high-pass filter
FD_THRESHOLD, DVARS_THRESHOLD = 0.5, 1.5  # of fMRIPrep's motion outliers
_TISSUES = {"a": "combined", "c": "CSF", "w": "WM"}
_COMPONENTS = 6  # of a tissue, as many as the frames allow


@dataclass(frozen=True)
class PaintedConfounds:
    """Confounds of one run.

    Attributes
    ----------
    table : DataFrame [F, C]
        ``framewise_displacement`` in mm, translations in mm, rotations in radians; NaN where
        fMRIPrep writes n/a.
    metadata : dict
        What stands in the JSON beside it: the components of CompCor.
    """

    table: pd.DataFrame
    metadata: dict[str, dict[str, Any]]

    def tsv(self) -> str:
        """The file's text, with all digits."""
        text: str = self.table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
        return text

    def json(self) -> str:
        """The text of the file beside it."""
        return json.dumps(self.metadata, indent=1) + "\n"

    def regressors(self, preset: Preset) -> Float64:
        """What a cleaning preset regresses out, float64 [F, C], drift terms included.

        A derivative's first frame, which has no value, repeats the second, as in nilearn.
        """
        motion = [name + e for name in MOTION for e in EXPANSIONS]
        columns = {
            "simple_motion": list(MOTION),
            "motion24_acompcor": motion + [f"{t}_comp_cor_{i:02d}" for t in "cw" for i in range(5)],
            "motion36": motion + [name + e for name in SIGNALS for e in EXPANSIONS],
        }[preset]
        drift = [name for name in self.table if name.startswith("cosine")]
        present = [name for name in [*columns, *drift] if name in self.table]
        found: Float64 = self.table[present].bfill(limit=1).to_numpy(np.float64)
        return found


def simulate_confounds(
    frames: int, tr: float, mean_fd: float, rng: np.random.Generator, *, dummies: int = 0
) -> PaintedConfounds:
    """Draw the confounds of a run.

    Parameters
    ----------
    frames : int
        F, at least 4.
    tr : float
        Seconds.
    mean_fd : float
        Mean framewise displacement in mm, over all frames but the first, which has none.
    rng : numpy.random.Generator
    dummies : int
        Frames at the start that are marked as non-steady state.
    """
    positions = _head_positions(frames, mean_fd, rng)
    fd = np.full(frames, np.nan)
    fd[1:] = np.abs(np.diff(positions, axis=0)).sum(1)
    moved = np.nan_to_num(fd) / max(mean_fd, 1e-6)
    slow = lfilter([1.0], [1.0, -0.9], rng.standard_normal((len(SIGNALS), frames)), axis=1)
    levels = np.array([1000.0, 1500.0, 900.0])[:, None]
    drift = _cosines(frames, tr)
    dvars = 1 + 0.1 * rng.standard_normal(frames) + 0.05 * (moved - 1)
    dvars[0] = np.nan

    columns: dict[str, Float64] = {}
    for name, signal in zip(SIGNALS, levels + 2 * slow + moved, strict=True):
        columns.update(_expanded(name, signal))
    columns |= {"std_dvars": dvars, "dvars": 20 * dvars, "framewise_displacement": fd}
    components, metadata = _compcor(frames, drift, rng)
    columns |= components
    columns |= {f"cosine{i:02d}": column for i, column in enumerate(drift.T)}
    for name, position in zip(MOTION, positions.T, strict=True):
        is_angle = name.startswith("rot")
        columns.update(_expanded(name, position / HEAD_RADIUS_MM if is_angle else position))
    outliers = np.flatnonzero((fd > FD_THRESHOLD) | (dvars > DVARS_THRESHOLD))
    columns |= dict(_one_hot("motion_outlier", outliers, frames))
    columns |= dict(_one_hot("non_steady_state_outlier", np.arange(dummies), frames))
    return PaintedConfounds(pd.DataFrame(columns), metadata)


def contaminate(
    series: ArrayLike, regressors: Float64, strength: float, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Mix confounds into series so that regressing them out gives back what is known.

    Parameters
    ----------
    series : array [R, F]
        A row of NaN stays one.
    regressors : ndarray of float64 [F, C]
    strength : float
        Standard deviation of what one confound adds to an ROI, in those of the ROI.
    rng : numpy.random.Generator

    Returns
    -------
    mixed, clean : ndarray of float64 [R, F]
        `clean` is the part of the series that no confound and no linear trend explains, with the
        series' own mean; `mixed` is that and the confounds. Censoring frames before the
        regression gives something near `clean`, not itself.

    Raises
    ------
    ValueError
        If confounds and trend would explain any series of this length.
    """
    wanted = np.asarray(series, np.float64)
    frames = wanted.shape[1]
    confounds = regressors - regressors.mean(axis=0)
    trend = np.linspace(-1, 1, frames)[:, None]
    if confounds.shape[1] + 2 >= frames:
        raise ValueError(
            f"expected more frames than confounds, found {frames} frames and "
            f"{confounds.shape[1]} confounds; paint longer scans or choose a smaller preset"
        )
    scale = confounds.std(axis=0)
    confounds = confounds / np.where(scale > 0, scale, 1)  # squares of rotations are tiny
    basis, _ = np.linalg.qr(np.hstack([trend, confounds]))
    mean = wanted.mean(axis=1, keepdims=True)
    centred = wanted - mean
    clean = centred - (centred @ basis) @ basis.T
    weights = strength * rng.standard_normal((len(wanted), confounds.shape[1]))
    mixed = clean + centred.std(axis=1, keepdims=True) * (weights @ confounds.T)
    return mixed + mean, clean + mean


def _head_positions(frames: int, mean_fd: float, rng: np.random.Generator) -> Float64:
    """Positions [F, 6] in mm along and around three axes, whose steps have the mean FD.

    Steps are small, with a jerk now and then, and lead back to the middle more often than away.
    """
    steps = rng.gamma(4.0, 0.25, frames - 1)
    steps[rng.random(frames - 1) < 0.04] *= 6.0
    steps *= mean_fd / steps.mean()
    parts = steps[:, None] * rng.dirichlet(np.ones(6), frames - 1)
    positions = np.zeros((frames, 6))
    for t, (part, luck) in enumerate(zip(parts, rng.random(parts.shape), strict=True)):
        away = luck < 0.5 - 0.4 * np.tanh(np.abs(positions[t]))
        outward = np.where(positions[t] < 0, -1.0, 1.0)
        positions[t + 1] = positions[t] + np.where(away, outward, -outward) * part
    return positions


def _cosines(frames: int, tr: float) -> Float64:
    """Slow cosines [F, C] of fMRIPrep's high-pass filter (SPM's discrete cosine basis)."""
    order = int(np.floor(2 * frames * tr / DRIFT_SECONDS))
    time = (np.arange(frames) + 0.5)[:, None]
    found: Float64 = np.sqrt(2 / frames) * np.cos(np.pi * time * np.arange(1, order + 1) / frames)
    return found


def _expanded(name: str, signal: Float64) -> dict[str, Float64]:
    derivative = np.concatenate([[np.nan], np.diff(signal)])
    parts = (signal, derivative, signal**2, derivative**2)
    return {name + ending: part for ending, part in zip(EXPANSIONS, parts, strict=True)}


def _compcor(
    frames: int, drift: Float64, rng: np.random.Generator
) -> tuple[dict[str, Float64], dict[str, dict[str, Any]]]:
    """Orthonormal components of each tissue, free of drift, and what the JSON says of them."""
    count = min(_COMPONENTS, frames // 4)
    columns, metadata = {}, {}
    for letter, mask in _TISSUES.items():
        noise = rng.standard_normal((frames, count))
        basis, _ = np.linalg.qr(np.hstack([np.ones((frames, 1)), drift, noise]))
        explained = 0.3 * 0.6 ** np.arange(count)
        for i, component in enumerate(basis[:, -count:].T):
            columns[f"{letter}_comp_cor_{i:02d}"] = component
            metadata[f"{letter}_comp_cor_{i:02d}"] = {
                "CumulativeVarianceExplained": float(explained[: i + 1].sum()),
                "Mask": mask,
                "Method": "aCompCor",
                "Retained": True,
                "SingularValue": float(100 * np.sqrt(explained[i])),
                "VarianceExplained": float(explained[i]),
            }
    return columns, metadata


def _one_hot(name: str, at: NDArray[np.int64], frames: int) -> Iterator[tuple[str, Float64]]:
    for i, frame in enumerate(at):
        column = np.zeros(frames)
        column[frame] = 1.0
        yield f"{name}{i:02d}", column
