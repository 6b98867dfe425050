"""Sums over a site's people as a vector of a secure sum: connectivity, and the yardstick's moments.

Every site sends the same arrays, whatever it knows of its people: where it has nobody with an
outcome it sends zeros, which nobody can tell from numbers. Bounds are fixed for all studies, far
beyond what a site has; what is larger is refused at the site, never clipped.

Shapes: P features of a pool, Q outcomes, L columns of latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.secure_sums.encoding.fixed_point import Counts, FixedPoint
from brainjepa_core.secure_sums.encoding.people import Codes, decode_sums, encode_sums
from brainjepa_core.sums.connectivity import MAX_Z
from brainjepa_core.sums.moments import PREFIX

Layout = dict[str, tuple[type[np.uint64], tuple[int, ...]]]

MOST_PEOPLE = 10**6  # of a site
LATENTS = 8  # L: traits that only synthetic people have
CONNECTIVITY, AGE, OF_COHORT = "connectivity", "age within site", "latents"
# Of a site's people in one fold. Features are of order 1, outcomes up to some hundreds.
_REACH = {"x_sum": 1e6, "xx": 1e6, "xy": 1e8, "y_sum": 1e8, "yy": 1e9}


def connectivity_layout(rois: int) -> Layout:
    """Arrays of a site's connectivity."""
    pairs = (rois * (rois - 1) // 2,)
    shapes: dict[str, tuple[int, ...]] = {"z_sum": pairs, "pair_count": pairs, "subjects": ()}
    return {name: (np.uint64, shape) for name, shape in shapes.items()}


def moments_layout(widths: Mapping[str, int], components: int, folds: int) -> Layout:
    """Arrays of a site's moments.

    Parameters
    ----------
    widths : mapping of str to int
        P of each pool.
    components : int
        Of connectivity.
    folds : int
    """
    outcomes = {CONNECTIVITY: components, AGE: 1, OF_COHORT: LATENTS}
    found: Layout = {}
    for pool, p in widths.items():
        for outcome, q in outcomes.items():
            shapes = {"n": (), "x_sum": (p,), "y_sum": (q,), "xx": (p, p), "xy": (p, q), "yy": (q,)}
            for fold in range(folds):
                for field, shape in shapes.items():
                    found[f"{PREFIX}.{pool}.{outcome}.{fold}.{field}"] = np.uint64, shape
    return found


def codes_of(layout: Layout, sites: int) -> Codes:
    """How each array becomes integers where `sites` are in the roster."""
    return {name: _code(name.rpartition(".")[2], sites) for name in layout}


def _code(field: str, sites: int) -> Counts | FixedPoint:
    if field in ("n", "pair_count", "subjects"):
        return Counts(MOST_PEOPLE, sites)
    reach = MAX_Z * MOST_PEOPLE if field == "z_sum" else _REACH[field]
    return FixedPoint(reach, sites, np.uint64)


def encode_people(
    sums: Mapping[str, NDArray[Any]], layout: Layout, sites: int, rounding: bytes
) -> Arrays:
    """A site's vector, of what it has for the layout; zeros for all else.

    Raises
    ------
    ValueError
        If it has more than the layout, or a number beyond its bounds.
    """
    foreign = sorted(sums.keys() - layout.keys())
    if foreign:
        raise ValueError(f"expected sums of the layout, found '{foreign[0]}' too; check versions")
    codes = codes_of(layout, sites)
    whole = {
        name: _padded(sums.get(name), shape, isinstance(codes[name], Counts))
        for name, (_, shape) in layout.items()
    }
    return encode_sums(whole, codes, rounding)


def _padded(array: NDArray[Any] | None, shape: tuple[int, ...], count: bool) -> NDArray[Any]:
    """An array of a site among zeros of the layout's shape."""
    whole: NDArray[Any] = np.zeros(shape, np.int64 if count else np.float64)
    if array is not None:
        own = np.asarray(array)
        if own.ndim != len(shape) or any(a > b for a, b in zip(own.shape, shape, strict=True)):
            raise ValueError(
                f"expected sums of shape at most {list(shape)}, found {list(own.shape)}; give all "
                "sites one atlas and one model"
            )
        whole[tuple(slice(size) for size in own.shape)] = own
    return whole


def decode_people(
    total: Mapping[str, NDArray[Any]], layout: Layout, sites: int, alive: int
) -> Arrays:
    """Sums over the people of `alive` of the roster's `sites`, without outcomes that nobody has.

    Raises
    ------
    OutOfRange
        If no sites that follow the protocol have such sums.
    """
    found = decode_sums(total, codes_of(layout, sites), alive)
    if not any(name.startswith(f"{PREFIX}.") for name in found):
        return found
    groups: dict[str, Arrays] = {}
    for name, array in found.items():
        group, _, field = name.rpartition(".")
        groups.setdefault(group, {})[field] = array
    known = {_kind(group): np.zeros(len(m["yy"]), np.bool_) for group, m in groups.items()}
    for group, m in groups.items():
        known[_kind(group)] |= m["yy"] != 0
    return {
        f"{group}.{field}": array
        for group, m in groups.items()
        if known[_kind(group)].any()
        for field, array in _of_columns(m, known[_kind(group)]).items()
    }


def _kind(group: str) -> str:
    """Pool and outcome of a group."""
    return group.rpartition(".")[0]


def _of_columns(m: Arrays, known: NDArray[np.bool_]) -> Arrays:
    """Moments of the outcomes that somebody has, all of them float64 as moments travel."""
    kept = {name: m[name][..., known] for name in ("y_sum", "xy", "yy")}
    return {name: np.asarray(array, np.float64) for name, array in {**m, **kept}.items()}
