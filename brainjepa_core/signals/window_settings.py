"""What a window of a scan is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainjepa_core.settings import Frozen


class WindowSettings(Frozen):
    """What a window is; written into every checkpoint.

    Attributes
    ----------
    frames : int
        T, frames of a window at its repetition time.
    tr : float
        Repetition time of a window in seconds.
    temporal : {"antialias", "official"}
        Resample behind a low-pass, or skip frames as published.
    scaling : {"zscore", "pooled", "official"}
        Each ROI of a scan to unit variance; or median and IQR over all frames of a site's scans;
        or those of temporal means, which needs data with its baseline.
    short : {"pad", "refuse"}
        Pad scans shorter than a window with frames marked invalid, or refuse them.
    """

    frames: int = Field(160, ge=1)
    tr: float = Field(2.0, gt=0)
    temporal: Literal["antialias", "official"] = "antialias"
    scaling: Literal["zscore", "pooled", "official"] = "zscore"
    short: Literal["pad", "refuse"] = "pad"
