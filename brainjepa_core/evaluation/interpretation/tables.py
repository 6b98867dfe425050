"""What a model looks at, as a folder: tables of all figures, and pictures of them.

Shapes: n people, R ROIs, G networks, L blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import UNKNOWN, Atlas
from brainjepa_core.evaluation.interpretation.attribution import Attribution
from brainjepa_core.evaluation.interpretation.figures import draw_networks
from brainjepa_core.evaluation.interpretation.group_difference import (
    GroupDifference,
    compare_groups,
)
from brainjepa_core.files import atomic_path
from brainjepa_core.pages.brain import brain_views

ALL = "all people"
WRITTEN = (
    *("attention.tsv", "attention.png", "attention_difference.png"),
    *("attribution.tsv", "attribution.png", "attribution_difference.png"),
)
ALPHA = 0.05
ATTENTION_LABEL = "attention, 1 where it is spread evenly"


def network_names(atlas: Atlas, networks: NDArray[np.int64]) -> list[str]:
    """Names of the G networks that `evaluation.measure.networks_of` numbers.

    ROIs that the atlas gives no network to (subcortex in the default atlas) are one of them,
    ``no network``; networks of an atlas without any are ``cluster 1`` and so on.
    """
    if not atlas.has_networks:
        return [f"cluster {i + 1}" for i in range(int(networks.max()) + 1)]
    return ["no network" if name == UNKNOWN else name for name in dict.fromkeys(atlas.networks)]


def write_interpretation(
    folder: str | Path,
    atlas: Atlas,
    networks: NDArray[np.int64],
    *,
    attention: Float64,
    attribution: Attribution,
    unit: str,
    groups: ArrayLike | None = None,
    sites: ArrayLike | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write tables and pictures of attention between networks and of attribution to ROIs.

    Parameters
    ----------
    folder : path
    atlas : Atlas
    networks : ndarray of int64 [R]
    attention : ndarray [n, L, G, G]
        Of `people_attention`.
    attribution : Attribution
        Of the same people in the same order.
    unit : str
        Of the score that is attributed.
    groups : array of str [n], optional
        Means are given of each group; of two, also the difference, second less first by name.
    sites : array [n], optional
        Within which groups are compared (`compare_groups`).
    seed : int
        Of the permutations.

    Returns
    -------
    list of Path
        ``attention.tsv`` (a row a block and pair of networks), ``attribution.tsv`` (a row an
        ROI), and PNGs of the same names; with two groups also ``*_difference.png``. ROIs are
        drawn where the atlas knows their centroids.
    """
    names, folder = network_names(atlas, networks), Path(folder)
    looks = _Summary(attention, groups, sites, seed)
    rests = _Summary(attribution.values, groups, sites, seed)
    pairs = np.indices(attention.shape[1:]).reshape(3, -1)
    keys = {"block": pairs[0] + 1, "from": np.take(names, pairs[1]), "to": np.take(names, pairs[2])}
    rois = {"roi": atlas.rois, "network": np.take(names, networks), "unit": unit}
    paths = [
        _write_table(folder / "attention.tsv", pd.DataFrame({**keys, **looks.columns()})),
        _write_table(folder / "attribution.tsv", pd.DataFrame({**rois, **rests.columns()})),
    ]
    pictures = _attention_pictures(looks, names)
    if atlas.centroids is not None:
        label = f"adds to the score, {unit} ({attribution.unexplained:.1%} unexplained)"
        pictures |= _attribution_pictures(rests, atlas.centroids, label, unit)
    return paths + [_write_picture(folder / f"{n}.png", figure) for n, figure in pictures.items()]


class _Summary:
    """Means [..] of people's values [n, ..] by group, and the difference of two groups."""

    def __init__(
        self, values: Float64, groups: ArrayLike | None, sites: ArrayLike | None, seed: int
    ) -> None:
        labels = np.full(len(values), ALL) if groups is None else np.asarray(groups)
        if len(labels) != len(values):
            raise ValueError(
                f"expected the group of each of {len(values)} people, found {len(labels)}; give "
                "one label a person"
            )
        names = [str(name) for name in np.unique(labels)]
        self.all = _mean(values)
        self.means = {name: _mean(values[labels == name]) for name in names}
        self.counts = {name: int((labels == name).sum()) for name in names}
        self.difference: GroupDifference | None = None
        if len(names) == 2:
            self.title = f"{names[1]} less {names[0]}"
            self.difference = compare_groups(values, labels == names[1], sites, seed=seed)

    def columns(self) -> dict[str, Float64]:
        """Columns of the table, flat."""
        columns = {ALL: self.all, **self.means}
        if self.difference is not None:
            d = self.difference
            columns |= {self.title: d.difference, "p": d.p, "q": d.q, "p_family": d.p_family}
        return {name: values.ravel() for name, values in columns.items()}

    def marked(self) -> NDArray[np.bool_]:
        """Where the groups differ."""
        assert self.difference is not None
        return self.difference.q < ALPHA


def _attention_pictures(looks: _Summary, names: Sequence[str]) -> dict[str, Figure]:
    depth = len(looks.all)
    shown = {f"block {i + 1} of {depth}": i for i in sorted({0, (depth - 1) // 2, depth - 1})}
    panels = {title: looks.all[i] for title, i in shown.items()}
    pictures = {"attention": draw_networks(panels, names, ATTENTION_LABEL, centre=1.0)}
    if looks.difference is not None:
        pictures["attention_difference"] = draw_networks(
            {title: looks.difference.difference[i] for title, i in shown.items()},
            names,
            f"{looks.title} (dot: q < {ALPHA})",
            marked={title: looks.marked()[i] for title, i in shown.items()},
        )
    return pictures


def _attribution_pictures(
    rests: _Summary, centroids: Sequence[tuple[float, float, float]], label: str, unit: str
) -> dict[str, Figure]:
    panels = {f"{name} (n = {rests.counts[name]})": mean for name, mean in rests.means.items()}
    pictures = {"attribution": brain_views(panels, centroids, label)}
    if rests.difference is not None:
        pictures["attribution_difference"] = brain_views(
            {rests.title: rests.difference.difference},
            centroids,
            f"adds more to the score, {unit} (ring: q < {ALPHA})",
            marked={rests.title: rests.marked()},
        )
    return pictures


def _mean(values: Float64) -> Float64:
    """Mean over people, of those who have a value; NaN where nobody has."""
    known = np.isfinite(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _write_table(path: Path, table: pd.DataFrame) -> Path:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g", na_rep=UNKNOWN)
    return path


def _write_picture(path: Path, figure: Figure) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path
