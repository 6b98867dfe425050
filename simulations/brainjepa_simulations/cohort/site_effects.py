"""What a site does to its scans: repetition time, scanner, motion, missing ROIs, and who comes.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from brainjepa_core.arrays import Float64
from brainjepa_simulations.cohort.traits import ANCESTRIES

BAND_HZ = (0.01, 0.1)
NOISE_SECONDS = 1.5  # correlation time of ROI noise
_BURN_IN_SECONDS = 120.0


@dataclass(frozen=True)
class SiteEffects:
    """One site's scanner and people, drawn once a site.

    Attributes
    ----------
    tr : float
        Repetition time in seconds.
    gain, offset : ndarray of float64, shape (R,)
        Scale and mean of each ROI's signal in the site's units.
    noise : float
        Multiplies the standard deviation of ROI noise; 1 is the cohort's own level.
    smoothness : float
        Correlation of the noise of neighbouring ROIs, by the scanner's spatial smoothness.
    motion : float
        Median over scans of the mean framewise displacement, in mm.
    missing : ndarray of bool, shape (R,)
        ROIs outside the site's field of view.
    age_shift : float
        Of the site's mean age, in standard deviations of age.
    prevalence : float
        Share of cases.
    ancestry : tuple of float
        Share of each of `ANCESTRIES`.
    """

    tr: float
    gain: Float64
    offset: Float64
    noise: float
    smoothness: float
    motion: float
    missing: NDArray[np.bool_]
    age_shift: float
    prevalence: float
    ancestry: tuple[float, ...]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, rois: int, tr: float, strength: float, missing: int
    ) -> SiteEffects:
        """A random site; at `strength` 0 all sites are alike but for TR and missing ROIs.

        Parameters
        ----------
        rng : numpy.random.Generator
        rois : int
            R.
        tr : float
            Repetition time in seconds.
        strength : float
            How far the site lies from the average one; 1 is realistic.
        missing : int
            Number of ROIs to lose.
        """
        site = rng.standard_normal(7)
        mix = rng.dirichlet(np.full(len(ANCESTRIES), 0.7))
        even = np.full(len(ANCESTRIES), 1 / len(ANCESTRIES))
        shares = even + min(strength, 1.0) * (mix - even)
        gain = strength * (0.3 * site[0] + 0.15 * rng.standard_normal(rois))
        offset = strength * (0.5 * site[1] + 0.2 * rng.standard_normal(rois))
        lost = np.zeros(rois, dtype=bool)
        lost[rng.choice(rois, size=missing, replace=False)] = True
        return cls(
            tr=tr,
            gain=np.exp(gain),
            offset=offset,
            noise=float(np.exp(0.1 * strength * site[2])),
            smoothness=float(np.clip(0.1 + 0.05 * strength * site[3], 0.0, 0.25)),
            motion=float(0.15 * np.exp(0.3 * strength * site[4])),
            missing=lost,
            age_shift=float(0.6 * strength * site[5]),
            prevalence=float(np.clip(0.5 + 0.12 * strength * site[6], 0.15, 0.85)),
            ancestry=tuple(shares.tolist()),
        )


def band_limited(rng: np.random.Generator, rows: int, frames: int, tr: float) -> Float64:
    """Independent Gaussian time courses in the resting-state band, unit expected variance.

    Their spectrum is the same in Hz at every repetition time.

    Parameters
    ----------
    rng : numpy.random.Generator
    rows, frames : int
    tr : float
        Seconds; below 5 s, so that the band lies below the Nyquist frequency.

    Returns
    -------
    ndarray of float64, shape (rows, frames)
    """
    burn_in = round(_BURN_IN_SECONDS / tr)
    white = rng.standard_normal((rows, burn_in + frames))
    band = butter(2, BAND_HZ, btype="bandpass", fs=1 / tr, output="sos")
    impulse = sosfilt(band, np.eye(1, 8 * burn_in)[0])
    found: Float64 = sosfilt(band, white)[:, burn_in:] / np.linalg.norm(impulse)
    return found


def roi_noise(
    rng: np.random.Generator, rois: int, frames: int, tr: float, smoothness: float
) -> Float64:
    """First-order autoregressive noise [R, F] of unit variance.

    Neighbours in the list of ROIs correlate by `smoothness`; others by nothing.
    """
    memory = np.exp(-tr / NOISE_SECONDS)
    burn_in = 8
    white = rng.standard_normal((rois + 1, burn_in + frames))
    series = lfilter([np.sqrt(1 - memory**2)], [1.0, -memory], white, axis=1)[:, burn_in:]
    # Rows a x_i + b x_(i+1) with a^2 + b^2 = 1 have correlation ab with the next row.
    angle = 0.5 * np.arcsin(2 * smoothness)
    found: Float64 = np.cos(angle) * series[:-1] + np.sin(angle) * series[1:]
    return found


def head_motion(
    rng: np.random.Generator, rois: int, frames: int, tr: float, median_fd: float
) -> tuple[Float64, float]:
    """Bursts that motion adds to all ROIs at once, and the scan's mean framewise displacement.

    Parameters
    ----------
    rng : numpy.random.Generator
    rois, frames : int
    tr : float
        Seconds; motion is a matter of time, not of frames.
    median_fd : float
        Median over scans of the mean framewise displacement, in mm.

    Returns
    -------
    burst : ndarray of float64, shape (R, F)
        In standard deviations of the ROI's signal.
    mean_fd : float
        Mean framewise displacement of the scan, in mm.
    """
    quiet = median_fd * np.exp(0.4 * rng.standard_normal())
    displacement = quiet * rng.gamma(4.0, 0.25, frames)
    jerk = rng.random(frames) < min(0.06 * quiet * tr, 0.2)
    displacement[jerk] += rng.exponential(0.8, int(jerk.sum()))
    # The signal takes some seconds to settle after a movement.
    course = lfilter(
        [1.0], [1.0, -np.exp(-tr / 4.0)], jerk * displacement * rng.normal(size=frames)
    )
    reach = rng.normal(1.0, 0.3, rois)
    return np.outer(reach, course), float(displacement.mean())
