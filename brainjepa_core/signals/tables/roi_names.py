"""Foreign names of ROIs, as tools spell them, brought to the atlas' own.

Known spellings of one parcel: ``17Networks_LH_VisCent_ExStr_1``, ``LH_VisCent_ExStr_1``,
``7Networks_LH_Vis_3`` and ``LH_Vis_3`` (XCP-D's 4S atlases); of one nucleus: ``HIP-head-m-rh``,
``HIP_head_m_rh`` and ``RH-HIP-head-m``.

One trap has no cure but refusal: Schaefer's parcellations of 100 to 1000 parcels share names for
different regions. ``LH_Vis_1`` of 100 parcels is not ``LH_Vis_1`` of 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import SHOWN, Atlas, default_rows

_SCHAEFER = re.compile(r"(?:(?:7|17)networks_)?[lr]h_[a-z0-9_]+_\d+")
_PREFIX = re.compile(r"(?:7|17)networks_")
_SIDE_FIRST = re.compile(r"([lr]h)_(.+)")
SCHAEFER_STEP = 100  # Schaefer's parcellations have 100, 200, ... 1000 parcels


def to_atlas_names(names: Sequence[str], atlas: Atlas) -> list[str]:
    """Replace every name that means an ROI of `atlas` by the atlas' name for it.

    A name that the atlas has is taken as it is. Otherwise case, the kind of separator, a missing
    ``7Networks_`` or ``17Networks_`` and a hemisphere in front instead of at the end make no
    difference, unless two ROIs of the atlas differ in just that.

    Parameters
    ----------
    names : sequence of str
        In any order.
    atlas : Atlas

    Returns
    -------
    list of str
        Names that mean no ROI of the atlas are kept.

    Raises
    ------
    ValueError
        If two names mean the same ROI, or the parcels are of another Schaefer parcellation.
    """
    return list(_to_atlas_names(tuple(names), atlas))


@lru_cache(maxsize=32)  # scans of a site have the same names
def _to_atlas_names(names: tuple[str, ...], atlas: Atlas) -> tuple[str, ...]:
    spellings = _spellings(atlas)
    own = set(atlas.rois)
    ours = [name if name in own else _look_up(name, spellings) or name for name in names]
    first: dict[str, str] = {}
    for name, roi in zip(names, ours, strict=True):
        if roi in own and roi in first:
            raise ValueError(
                f"expected each ROI once, found '{first[roi]}' and '{name}' for {roi}; keep one"
            )
        first[roi] = name
    _refuse_other_parcellation(ours, atlas)
    return tuple(ours)


def in_atlas_order(series: NDArray[np.generic], names: Sequence[str], atlas: Atlas) -> Float64:
    """Bring rows [any ROIs, F] to atlas order by name; ROIs that are not there become NaN.

    Raises
    ------
    ValueError
        As `to_atlas_names`, or if no name is known.
    """
    rows = atlas.rows_of(to_atlas_names(names, atlas))
    ordered = np.asarray(series, np.float64)[rows]
    ordered[rows < 0] = np.nan
    return ordered


def _fold(name: str) -> str:
    return re.sub(r"[-_\s]+", "_", name.strip().lower())


@lru_cache(maxsize=8)
def _spellings(atlas: Atlas) -> Mapping[str, str]:
    """ROI of each folded spelling that means one ROI only."""
    own = set(atlas.rois)
    pairs = [(roi, roi) for roi in atlas.rois]
    pairs += [(row["name_7networks"], row["name"]) for row in default_rows() if row["name"] in own]
    meant: dict[str, set[str]] = {}
    for spelling, roi in pairs:
        folded = _fold(spelling)
        for variant in {folded, _PREFIX.sub("", folded)}:
            meant.setdefault(variant, set()).add(roi)
    return {spelling: min(rois) for spelling, rois in meant.items() if len(rois) == 1}


def _look_up(name: str, spellings: Mapping[str, str]) -> str | None:
    folded = _fold(name)
    side_first = _SIDE_FIRST.fullmatch(folded)
    turned = f"{side_first[2]}_{side_first[1]}" if side_first else folded
    return spellings.get(folded) or spellings.get(turned)


def _refuse_other_parcellation(ours: Sequence[str], atlas: Atlas) -> None:
    """Parcels of another number share names with the atlas', but are other regions."""
    own = {roi for roi in atlas.rois if _SCHAEFER.fullmatch(_fold(roi))}
    parcels = [name for name in ours if _SCHAEFER.fullmatch(_fold(name))]
    unknown = [name for name in parcels if name not in own]
    whole = len(parcels) % SCHAEFER_STEP == 0 and len(parcels) not in (0, len(own))
    if own and (unknown or whole):
        shown = ", ".join(unknown[:SHOWN])
        raise ValueError(
            f"expected the {len(own)} Schaefer parcels of atlas '{atlas.name}', found "
            f"{len(parcels)} parcels{f', {len(unknown)} unknown such as {shown}' if shown else ''}"
            "; another Schaefer parcellation gives the same names to other regions: choose its "
            f"atlas, or parcellate with {len(own)} parcels"
        )
