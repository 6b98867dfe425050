"""What a site's answer must be before it may count; nothing else of it reaches the model.

A site may run other code, be broken or be hostile, so every value is judged as if it were
garbage. Whatever is wrong, one exception comes out, whose text is ours.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32
from brainjepa_core.models.roles import Roles
from brainjepa_core.wire.messages import Reply, Scalar, Wire
from brainjepa_core.wire.told_numbers import RANGES
from brainjepa_core.wire.weights import SCALES, decode_difference, travels_as
from brainjepa_server.settings import AggregationSettings

MIN_SHARE, MAX_SHARE = 1e-9, 1e9  # people or scans of a site; more is no cohort
# A difference of so many times the global weights' norm is no training. What is long beside the
# other sites' is judged in `combining.limits`.
FARTHEST = 10.0
LONGEST = 80  # characters of a site's own text that we repeat
LONGEST_REFUSAL = 240  # which says how to mend it at its end
# The other numbers of a train reply that are kept, if they are within `RANGES`; names not here are
# dropped.
EXTRA = (
    "loss_last", "seconds", "spread_people", "spread_positions", "position_share", "rank_tokens",
    "rank_people",
)  # fmt: skip


class RejectedReply(ValueError):
    """A reply that cannot count; its text says what was expected and found, and names no data."""


@dataclass(frozen=True, eq=False)
class Update:
    """A checked train reply.

    Attributes
    ----------
    arrays : dict of str to ndarray
        As they travelled.
    wire : {"fp32", "bf16", "int8"}
    share : float
        What the site counts by.
    norm : float
        Of its difference from the global weights, relative to theirs.
    metrics : dict of str to float
        Finite numbers of known names.
    scale : float
        What its difference is multiplied by: less than 1 where it is clipped.
    """

    arrays: Arrays
    wire: Wire
    share: float
    norm: float
    metrics: dict[str, float]
    scale: float = 1.0

    def values(self, base: Mapping[str, NDArray[np.generic]]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The site's weights, one array at a time and in order of name.

        With wire ``fp32`` they are what the site sent, to the last bit and without a copy. With
        the others, or where the difference is clipped, they are float64, `base` plus the
        difference.
        """
        for name in sorted(name for name in self.arrays if not name.endswith(SCALES)):
            if self.wire == "fp32" and self.scale == 1:
                yield name, self.arrays[name]
            else:
                difference = decode_difference(name, self.arrays, base, self.wire)
                yield name, base[name].astype(np.float64) + self.scale * difference


def safe(text: object, longest: int = LONGEST) -> str:
    """At most `longest` harmless characters of a site's text, for logs and errors."""
    if not isinstance(text, str):
        return f"a {type(text).__name__}"
    return re.sub(r"[^A-Za-z0-9 ._,;:()/+'-]", "?", text[:longest])


def number(
    metrics: Mapping[str, Scalar], name: str, low: float = -sys.float_info.max,
    high: float = sys.float_info.max, *, whole: bool = False,
) -> float:  # fmt: skip
    """A finite number from `low` to `high` out of a reply's metrics, an integer where `whole`.

    Raises
    ------
    RejectedReply
        If it is missing, text, true or false, not finite, or out of range.
    """
    value = metrics.get(name)
    kind = "an integer" if whole else "a finite number"
    span = f" from {low:g} to {high:g}" if high < sys.float_info.max else ""
    if type(value) not in ((int,) if whole else (int, float)):
        found = "none" if value is None else f"a {type(value).__name__}"
    elif low <= value <= high:  # type: ignore[operator]  # also false for NaN
        return value  # type: ignore[return-value]
    else:
        found = f"{value:.6g}" if isinstance(value, float) else "one out of range"
    raise RejectedReply(f"expected {name} as {kind}{span}, found {found}; check the site's version")


def require_answer(reply: Reply, names: tuple[str, ...] | None) -> None:
    """Refuse what is no reply, a site's refusal, or a reply with other arrays than `names`.

    Raises
    ------
    RejectedReply
    """
    if not isinstance(reply, Reply):
        raise RejectedReply(f"expected a reply, found a {type(reply).__name__}; check versions")
    if reply.refusal:
        raise RejectedReply(f"no usable reply: {safe(reply.refusal, LONGEST_REFUSAL)}")
    for part, what in ((reply.metrics, "metrics"), (reply.arrays, "arrays")):
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise RejectedReply(f"expected {what} by name, found a {type(part).__name__}")
    for name, value in reply.arrays.items():
        if type(value) is not np.ndarray:
            raise RejectedReply(f"expected an array, found a {type(value).__name__}: {safe(name)}")
    if names is not None and reply.arrays.keys() != set(names):
        missing = sorted(set(names) - reply.arrays.keys())
        foreign = sorted(reply.arrays.keys() - set(names))
        raise RejectedReply(
            f"expected {len(names)} arrays, found {len(missing)} of them missing"
            + (f" ({missing[0]})" if missing else "")
            + f" and {len(foreign)} unknown"
            + (f" ({safe(foreign[0])})" if foreign else "")
            + "; check study and versions"
        )


@contextmanager
def of_known_names() -> Iterator[None]:
    """A sum's own reason becomes a rejection: its text holds numbers and names known by now.

    Raises
    ------
    RejectedReply
    """
    try:
        yield
    except ValueError as error:
        raise RejectedReply(str(error)) from error


class Counts(NamedTuple):
    """What a site told of itself when it joined, each rounded down to a multiple of its choice."""

    subjects: int
    scans: int

    @classmethod
    def of(cls, metrics: Mapping[str, Scalar]) -> Counts:
        """Those of a reply to ``describe``; what is no number of people or scans counts as 0."""
        found = (metrics.get(name) for name in cls._fields)
        return cls(*(n if type(n) is int and 0 <= n <= MAX_SHARE else 0 for n in found))


def most_people(told: int) -> int:
    """People, or scans, that a site has at most by what it told of them when it joined.

    It told a multiple of some number, rounded down: it has fewer than twice as many.
    """
    return max(2 * told - 1, 0)


def require_told(people: int, counts: Counts | None) -> None:
    """Refuse sums of more people than a site can have by what it told when it joined.

    Raises
    ------
    RejectedReply
    """
    if counts is not None and people > most_people(counts.subjects):
        raise RejectedReply(
            f"expected the {counts.subjects} people that the site told of when it joined (rounded "
            f"down: fewer than twice as many), found {people}; look at the site's version, or have "
            "it round less (policy.round_counts_to)"
        )


def require_replies(count: int) -> None:
    """Refuse to combine nothing.

    Raises
    ------
    ValueError
    """
    if not count:
        raise ValueError(
            "expected at least one usable reply in a round, found none; look at the reasons why "
            "sites were left out, or raise the deadline"
        )


def require_array(
    array: NDArray[np.generic], name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> None:
    """Refuse an array of another dtype or shape, or with a value that is not finite.

    Raises
    ------
    RejectedReply
    """
    if array.dtype != dtype or array.shape != shape:
        raise RejectedReply(
            f"expected '{name}' as {dtype} of shape {list(shape)}, found {safe(array.dtype.name)} "
            f"of shape {list(array.shape[:8])}; check study and versions"
        )
    if not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise RejectedReply(
            f"expected finite values in '{name}', found {count} of {array.size} NaN or infinite; "
            "look at the site's loss and learning rate"
        )


def check_reply(
    reply: Reply,
    base: Mapping[str, Float32],
    settings: AggregationSettings,
    roles: Roles,
    steps: int,
    private: float | None = None,
) -> Update:
    """Judge a train reply.

    Parameters
    ----------
    reply : Reply
    base : mapping of str to ndarray of float32
        The round's global weights, all of them; other arrays among them are not looked at.
    settings : AggregationSettings
        Wire, target and shares.
    roles : Roles
        Of the model's arrays: which of them a reply holds.
    steps : int
        Optimiser steps that the round asked for.
    private : float, optional
        Under ``protect: dp``, where a reply is weights and steps alone: what it counts by.

    Returns
    -------
    Update

    Raises
    ------
    RejectedReply
        And nothing else, whatever the reply is.
    """
    try:
        return _checked(reply, base, settings, roles, steps, private)
    except RejectedReply:
        raise
    except Exception as error:  # the last line of defence against a site's bytes
        raise RejectedReply(
            f"expected a reply as agreed, found one that raises {type(error).__name__}; "
            "check the site's version"
        ) from error


def _checked(
    reply: Reply,
    base: Mapping[str, Float32],
    settings: AggregationSettings,
    roles: Roles,
    steps: int,
    private: float | None,
) -> Update:
    names = tuple(roles.sent(base, with_followers=settings.target == "average"))
    agreed = {name: travels_as(name, base[name].shape, settings.wire) for name in names}
    require_answer(reply, tuple(part for parts in agreed.values() for part in parts))
    told = _told(reply, settings) if private is None else {"share": private}
    taken = number(reply.metrics, "steps", 0, MAX_SHARE, whole=True)
    if taken != steps:
        raise RejectedReply(f"expected {steps} steps, found {taken}; check the site's version")
    square, base_square = 0.0, 0.0
    for name in names:
        for part, (dtype, shape) in agreed[name].items():
            require_array(reply.arrays[part], part, dtype, shape)
        difference = decode_difference(name, reply.arrays, base, settings.wire)
        if settings.wire != "fp32":
            require_array(difference, name, difference.dtype, difference.shape)
        square += float(np.vdot(difference, difference))
        base_square += float(np.vdot(base[name].astype(np.float64), base[name]))
    if not base_square:  # heads that begin at nothing: what they stand on is the measure
        base_square = sum(float(np.vdot(a.astype(np.float64), a)) for a in base.values())
    farthest = FARTHEST * math.sqrt(base_square)
    if not math.sqrt(square) <= farthest:
        raise RejectedReply(
            f"expected a difference of norm at most {farthest:.6g} ({FARTHEST:g} times the global "
            f"weights'), found {math.sqrt(square):.6g}; look at the site's loss and learning rate"
        )
    norm = math.sqrt(square / base_square) if base_square else 0.0
    return Update(dict(reply.arrays), settings.wire, told["share"], norm, told)


def _told(reply: Reply, settings: AggregationSettings) -> dict[str, float]:
    """The numbers of a reply that are kept."""
    share = number(reply.metrics, "share", MIN_SHARE, MAX_SHARE)
    if settings.shares == "equal" and share != 1:
        raise RejectedReply(
            f"expected share 1 where all sites count the same, found {share:.6g}; "
            "check the site's version"
        )
    kept = {"share": float(share), "loss": float(number(reply.metrics, "loss", *RANGES["loss"]))}
    for name in EXTRA:
        if name in reply.metrics:
            try:
                kept[name] = float(number(reply.metrics, name, *RANGES[name]))
            except RejectedReply:
                continue  # a figure for the log; the update stands without it
    return kept
