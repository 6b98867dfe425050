"""Sums over a site's people as a vector of a secure sum.

Of connectivity, of co-skewness, of moments, and counts of scores.

Every site sends the same arrays, whatever it knows of its people: where it has nobody with an
outcome it sends zeros, which nobody can tell from numbers. Bounds are fixed for all studies, far
beyond what a site has; what is larger is refused at the site, never clipped.

Shapes: P features of a pool, Q outcomes, L columns of latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.secure_sums.encoding.fixed_point import Counts, FixedPoint
from brainjepa_core.secure_sums.encoding.people import Codes, decode_sums, encode_sums
from brainjepa_core.sums.connectivity import MAX_Z
from brainjepa_core.sums.histogram import BINS
from brainjepa_core.sums.moments import PREFIX
from brainjepa_core.wire.messages import OF_COSKEWNESS, TARGET

Layout = dict[str, tuple[type[np.uint64], tuple[int, ...]]]

MOST_PEOPLE = 10**6  # of a site
LATENTS = 8  # L: traits that only synthetic people have
CONNECTIVITY, AGE, OF_COHORT = "connectivity", "age within site", "latents"
# Of a site's people in one fold. Features are of order 1, outcomes up to some hundreds.
HISTOGRAM = "histogram"
# Products of co-skewness of a person are at most their frames; of data, below 1.
_REACH = {"products": 1e8, "x_sum": 1e6, "xx": 1e6, "xy": 1e8, "y_sum": 1e8, "yy": 1e9}


def connectivity_layout(rois: int, *, coskewness: bool = False) -> Layout:
    """Arrays of a site's connectivity, and of its co-skewness where a study asks for it."""
    pairs = (rois * (rois - 1) // 2,)
    shapes: dict[str, tuple[int, ...]] = {"z_sum": pairs, "pair_count": pairs, "subjects": ()}
    if coskewness:
        with_own = (rois * (rois + 1) // 2,)
        shapes |= {OF_COSKEWNESS + name: with_own for name in ("products", "pair_count")}
    return {name: (np.uint64, shape) for name, shape in shapes.items()}


def yardstick_layout(widths: Mapping[str, int], components: int, folds: int) -> Layout:
    """Arrays of a site's moments of the yardstick, of P features a pool (`widths`)."""
    return _moments_layout(widths, {CONNECTIVITY: components, AGE: 1, OF_COHORT: LATENTS}, folds)


def task_layout(widths: Mapping[str, int], classes: int, folds: int) -> Layout:
    """Arrays of a site's moments of a task; `classes` is 0 of a number to predict."""
    return _moments_layout(widths, {TARGET: classes or 1}, folds)


def _moments_layout(widths: Mapping[str, int], outcomes: Mapping[str, int], folds: int) -> Layout:
    found: Layout = {}
    for pool, p in widths.items():
        for fold in range(folds):
            place = f"{PREFIX}.{pool}.{fold}"
            shapes: dict[str, tuple[int, ...]] = {
                f"{place}.n": (),
                f"{place}.x_sum": (p,),
                f"{place}.xx": (p * (p + 1) // 2,),
            }
            for outcome, q in outcomes.items():
                own = {"y_sum": (q,), "xy": (p, q), "yy": (q,)}
                shapes |= {f"{place}.{outcome}.{field}": shape for field, shape in own.items()}
            found |= {name: (np.uint64, shape) for name, shape in shapes.items()}
    return found


def counts_layout(pools: Iterable[str]) -> Layout:
    """Arrays of a site's counts of scores, of one probe a pool."""
    return {f"probe.{pool}.{HISTOGRAM}": (np.uint64, (1, 2, BINS)) for pool in pools}


def codes_of(layout: Layout, sites: int) -> Codes:
    """How each array becomes integers where `sites` are in the roster."""
    return {name: _code(name.rpartition(".")[2], sites) for name in layout}


def _code(field: str, sites: int) -> Counts | FixedPoint:
    if field in ("n", "pair_count", "subjects", HISTOGRAM):
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
    known: dict[str, NDArray[np.bool_]] = {}  # by outcome, whether somebody has each of its columns
    for name, array in found.items():
        if name.endswith(".yy"):
            outcome = _outcome(name)
            known[outcome] = known.get(outcome, np.zeros(len(array), np.bool_)) | (array != 0)
    known.pop(TARGET, None)  # classes are those of the task, whether or not they have people
    told = {name: np.asarray(array, np.float64) for name, array in found.items()}
    return {
        name: array[..., known[_outcome(name)]] if _outcome(name) in known else array
        for name, array in told.items()
        if _outcome(name) not in known or known[_outcome(name)].any()
    }


def _outcome(name: str) -> str:
    """Of an array ``moments.<pool>.<fold>.<outcome>.<field>``; empty of those that all share."""
    words = name.split(".")
    return words[3] if len(words) == 5 else ""
