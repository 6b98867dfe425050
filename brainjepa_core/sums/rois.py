"""ROI names: the only identity an ROI has, and how errors speak of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

LISTED = 5  # names an error spells out before it counts the rest


def basis_hash(rois: Sequence[str], gradients: NDArray[np.floating]) -> str:
    """sha256 (hex) over the ordered ROI names and the gradients [R, m] of a basis.

    The gradients enter as little-endian float64 after rounding to float32, the precision at which a
    model holds them: a basis read back from a checkpoint's float32 buffer has the hash of the one
    that was saved.
    """
    rounded = gradients.astype(np.float32).astype("<f8") + 0.0  # -0.0 becomes 0.0
    digest = hashlib.sha256()
    digest.update("\n".join((*rois, str(rounded.shape), "")).encode())
    digest.update(np.ascontiguousarray(rounded).tobytes())
    return digest.hexdigest()


def check_rois(names: Iterable[str]) -> tuple[str, ...]:
    """Ordered ROI names as a tuple, refused unless usable as identities.

    Parameters
    ----------
    names : iterable of str
        At least two names, each unique, printable and without surrounding spaces.

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        If there are fewer than two names, or one is unusable or repeated.
    """
    if isinstance(names, str):
        raise ValueError("expected a list of ROI names, found one string; pass a list")
    rois = tuple(names)
    if len(rois) < 2:
        raise ValueError(f"expected at least 2 ROI names, found {len(rois)}")
    for position, name in enumerate(rois):
        if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
            raise ValueError(
                f"expected printable ROI names without surrounding spaces, found {name!r} at "
                f"position {position}; rename it"
            )
    if len(set(rois)) < len(rois):
        repeated = sorted({name for name in rois if rois.count(name) > 1})
        raise ValueError(
            f"expected each ROI name once, found repeated: {_spell(repeated)}; rename or drop them"
        )
    return tuple(str(name) for name in rois)  # numpy strings become plain ones


def name_rois(indices: Iterable[int], rois: Sequence[str] | None) -> str:
    """Spell ROIs for an error: their names where known, else ``ROI 12`` (0-based)."""
    return _spell([rois[i] if rois is not None else f"ROI {i}" for i in indices])


def require_same_rois(expected: Sequence[str], found: Sequence[str]) -> None:
    """Refuse `found` unless it holds the `expected` ROI names in the same order.

    Parameters
    ----------
    expected, found : sequence of str
        Ordered ROI names.

    Raises
    ------
    ValueError
        Saying whether names are missing, foreign or only in another order.
    """
    expected, found = tuple(expected), tuple(found)
    if expected == found:
        return
    missing = [name for name in expected if name not in set(found)]
    foreign = [name for name in found if name not in set(expected)]
    if missing or foreign:
        raise ValueError(
            f"expected the same {len(expected)} ROIs, found {len(found)} with "
            f"missing: {_spell(missing)}; not expected: {_spell(foreign)}; "
            "use one atlas with one set of names everywhere"
        )
    if len(expected) != len(found):
        raise ValueError(
            f"expected {len(expected)} ROIs, found {len(found)}: some names are repeated"
        )
    first = next(i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
    raise ValueError(
        f"expected the ROIs in the same order, found '{found[first]}' at position {first} where "
        f"'{expected[first]}' belongs; reorder the rows by name"
    )


def _spell(names: Sequence[str]) -> str:
    if not names:
        return "none"
    listed = ", ".join(names[:LISTED])
    rest = len(names) - LISTED
    return f"{listed} and {rest} more" if rest > 0 else listed
