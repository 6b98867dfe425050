"""How far one reply may pull a round: each is judged beside the others, once all are there.

A reply that is possible by itself may still be a lie: a hundred times as long as everybody else's,
or of a site that says it has all the people in the world. What is longest and largest is therefore
measured by the round itself, by its median, which a minority cannot move.

Of one or two replies nothing is known: neither can be told to be the odd one out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from brainjepa_server.combining.validation import Counts
from brainjepa_server.settings import AggregationSettings

FEWEST_JUDGED = 3  # of two that differ, nobody can tell which one lies
LARGEST_PART = 2.0  # of the whole that a site may have, in even parts of it


class Pull(NamedTuple):
    """What a checked reply would pull by.

    Attributes
    ----------
    norm : float
        Of its difference.
    share : float
        As the site names it.
    counts : Counts, optional
        What the site told of when it joined.
    """

    norm: float
    share: float
    counts: Counts | None = None


@dataclass(frozen=True)
class Limits:
    """What becomes of each reply of a round.

    Attributes
    ----------
    scales : dict of str to float
        What the difference of each site that counts is multiplied by: 1, or less where it is
        clipped.
    shares : dict of str to float
        What each of them counts by.
    rejected, clipped, capped : dict of str to str
        Why a site does not count; why its difference is shortened; why it counts by less than
        its share.
    """

    scales: dict[str, float]
    shares: dict[str, float]
    rejected: dict[str, str] = field(default_factory=dict)
    clipped: dict[str, str] = field(default_factory=dict)
    capped: dict[str, str] = field(default_factory=dict)


def limits_of(pulls: Mapping[str, Pull], settings: AggregationSettings) -> Limits:
    """Judge the replies of a round beside one another.

    Replies longer than ``max_norm`` times the median are left out, and none counts by more than the
    people or scans that its site told of when it joined. Of those that stay, a mean takes none as
    longer than ``clip_norm`` times their median, and none as more than 2 / sites of the whole; in
    a trimmed mean or a median all count the same.

    Parameters
    ----------
    pulls : mapping of str to Pull
        By site; norms in any one unit.
    settings : AggregationSettings
    """
    rejected = _too_long(pulls, settings.max_norm)
    kept = {site: pull for site, pull in pulls.items() if site not in rejected}
    shares: dict[str, float] = {}
    capped: dict[str, str] = {}
    for site, pull in kept.items():
        shares[site], reason = _told_share(pull, settings.shares)
        capped |= {site: reason} if reason else {}
    if settings.combine != "mean" or len(kept) < FEWEST_JUDGED:
        return Limits(dict.fromkeys(kept, 1.0), shares, rejected, {}, capped)
    shares, lowered = _capped(shares)
    scales, clipped = _clipped(kept, settings.clip_norm)
    return Limits(scales, shares, rejected, clipped, capped | lowered)


def told_share(counts: Counts | None, shares: str) -> float:
    """What a site counts by, by what it told of when it joined."""
    if counts is None or shares == "equal":
        return 1.0
    return float(max(getattr(counts, shares), 1))


def _told_share(pull: Pull, shares: str) -> tuple[float, str]:
    """The share by what the site told of when it joined, and why it is less than it names."""
    if pull.counts is None or shares == "equal":
        return pull.share, ""
    most = told_share(pull.counts, shares)
    if pull.share <= most:
        return pull.share, ""
    return most, (
        f"expected a share of at most {most:g}, the {shares} that the site told of when it "
        f"joined, found {pull.share:.6g}; its reply counts by {most:g}"
    )


def _capped(shares: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Shares of which none is above 2 / n of all, and why some are lowered."""
    most, whole = largest_share(list(shares.values())), sum(shares.values())
    reasons = {
        site: f"expected a share of at most {LARGEST_PART / len(shares):.0%} of the round's (twice "
        f"an even part), found {share:.6g} of {whole:.6g}; its reply counts by {most:.6g}"
        for site, share in shares.items()
        if share > most
    }
    return {site: min(share, most) for site, share in shares.items()}, reasons


def _clipped(pulls: Mapping[str, Pull], most: float) -> tuple[dict[str, float], dict[str, str]]:
    """What differences are multiplied by, and why some are shortened."""
    middle = median(pull.norm for pull in pulls.values())
    scales, reasons = dict.fromkeys(pulls, 1.0), {}
    for site, pull in pulls.items():
        if pull.norm > most * middle:
            scales[site] = most * middle / pull.norm
            reasons[site] = (
                f"expected a difference of at most {most:g} times the round's median norm "
                f"(aggregation.clip_norm), found {_times(pull.norm, middle)}; it is shortened to "
                "that"
            )
    return scales, reasons


def largest_share(shares: list[float]) -> float:
    """The share to which larger ones are lowered, so that none is above 2 / n of all n together.

    Lowering the largest lowers the whole too: where the k largest are lowered to x, x is twice an
    even part of ``k x + rest``. Infinite where none has to be lowered.

    Parameters
    ----------
    shares : list of float
        Above 0, at least three.
    """
    ordered = sorted(shares, reverse=True)
    n = len(ordered)
    for k in range((n + 1) // 2):
        lowered = LARGEST_PART * sum(ordered[k:]) / (n - LARGEST_PART * k)
        if ordered[k] <= lowered:
            return lowered if k else float("inf")
    raise AssertionError("the smaller half of shares is below twice an even part")


def _too_long(pulls: Mapping[str, Pull], most: float) -> dict[str, str]:
    if len(pulls) < FEWEST_JUDGED:
        return {}
    middle = median(pull.norm for pull in pulls.values())
    return {
        site: f"expected a difference of at most {most:g} times the round's median norm "
        f"(aggregation.max_norm), found {_times(pull.norm, middle)}; look at the site's loss and "
        "learning rate"
        for site, pull in pulls.items()
        if pull.norm > most * middle
    }


def _times(norm: float, middle: float) -> str:
    return f"{norm / middle:.3g} times" if middle else "one where most sites sent none"
