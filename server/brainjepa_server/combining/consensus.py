"""One basis for all sites from their summed connectivity, computed once before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pretraining.basis import basis_of_sum
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.problems import reasons_after
from brainjepa_core.sums.protocol import MOST_COUNTED
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.agreement import odd_ones
from brainjepa_server.combining.limits import FEWEST_JUDGED, LARGEST_PART, largest_share
from brainjepa_server.combining.validation import (
    Counts,
    RejectedReply,
    number,
    of_known_names,
    require_answer,
    require_told,
)
from brainjepa_server.settings import FloorSettings

ARRAYS = ("pair_count", "z_sum")


@dataclass(frozen=True, eq=False)
class Consensus:
    """What the sites have in common.

    Attributes
    ----------
    total : ConnectivitySum
        Over the sites that count, each for no more people than it may.
    people : int
        Behind what those sites told.
    basis : ConsensusBasis
    mean_fc : ndarray of float64, shape (R, R)
        The connectivity that the basis was computed from.
    sites : tuple of str
        Those that count, in order of name.
    left_out : dict of str to str
        Why each of the others does not.
    capped : dict of str to str
        Why a site counts for fewer people than it told of.
    compared : bool
        Whether sites were compared with one another; of fewer than three none can be the odd one.
    """

    total: ConnectivitySum
    people: int
    basis: ConsensusBasis
    mean_fc: Float64
    sites: tuple[str, ...]
    left_out: dict[str, str]
    capped: dict[str, str]
    compared: bool


def check_sum(
    reply: Reply, rois: Sequence[str], floor: int, counts: Counts | None = None
) -> ConnectivitySum:
    """Judge a site's sum over its people.

    Parameters
    ----------
    reply : Reply
        Of kind ``gradients``.
    rois : sequence of str
        The study's ROI names in order, R of them; the arrays are over their R(R-1)/2 pairs.
    floor : int
        Fewest subjects.
    counts : Counts, optional
        What the site told of when it joined.

    Returns
    -------
    ConnectivitySum

    Raises
    ------
    RejectedReply
        And nothing else, whatever the reply is.
    """
    try:
        return _checked(reply, rois, floor, counts)
    except RejectedReply:
        raise
    except Exception as error:  # the last line of defence against a site's bytes
        raise RejectedReply(
            f"expected sums as agreed, found some that raise {type(error).__name__}; "
            "check the site's version"
        ) from error


def _checked(
    reply: Reply, rois: Sequence[str], floor: int, counts: Counts | None
) -> ConnectivitySum:
    require_answer(reply, ARRAYS)
    subjects = np.array(number(reply.metrics, "subjects", 0, MOST_COUNTED, whole=True), np.int64)
    if subjects < floor:
        raise RejectedReply(
            f"expected at least {floor} subjects, found {subjects}; "
            "a basis of few people is about those people"
        )
    require_told(int(subjects), counts)
    with of_known_names():
        return ConnectivitySum.from_arrays(
            {"rois": np.array(list(rois), np.str_), **reply.arrays, "subjects": subjects}
        )


def build_consensus(
    replies: Mapping[str, Reply],
    rois: Sequence[str],
    floors: FloorSettings,
    settings: BasisSettings,
    counts: Mapping[str, Counts],
) -> Consensus:
    """Sum what the sites sent and compute the basis of all their people.

    Each sum is judged by itself, then beside the others: a site whose mean connectivity is not like
    theirs is left out, and of three or more none counts for more than 2 / sites of the people.
    Sites are added in order of name, so the same replies give the same bits in whatever order
    they arrived.

    Parameters
    ----------
    replies : mapping of str to Reply
        Replies to ``gradients`` by site.
    rois : sequence of str
        The study's ROI names in order.
    floors : FloorSettings
    settings : BasisSettings
    counts : mapping of str to Counts
        What sites told of when they joined.

    Returns
    -------
    Consensus

    Raises
    ------
    ValueError
        If too few sites or people are left, or these have no basis (`basis_of_sum`).
    """
    sums: dict[str, ConnectivitySum] = {}
    left_out: dict[str, str] = {}
    for site in sorted(replies):
        try:
            sums[site] = check_sum(replies[site], rois, floors.subjects_per_site, counts.get(site))
        except RejectedReply as error:
            left_out[site] = str(error)
    compared = len(sums) >= FEWEST_JUDGED
    odd = odd_ones(sums)
    left_out |= odd
    sums = {site: one for site, one in sums.items() if site not in odd}
    people = sum(one.subjects for one in sums.values())
    reasons = reasons_after({f"{site} was left out": why for site, why in left_out.items()})
    if len(sums) < floors.sites:
        raise ValueError(
            f"expected usable connectivity of at least {floors.sites} sites (floors.sites), found "
            f"{len(sums)}; wait for more sites{reasons}"
        )
    if people < floors.subjects:
        raise ValueError(
            f"expected at least {floors.subjects} subjects over all sites (floors.subjects), found "
            f"{people}; wait for more sites{reasons}"
        )
    counting, capped = _capped(sums)
    total = sum(counting.values(), ConnectivitySum(rois))
    basis = basis_of_sum(total, settings)
    return Consensus(total, people, basis, total.mean_fc(), tuple(sums), left_out, capped, compared)


def consensus_of_sum(
    total: ConnectivitySum,
    sites: Sequence[str],
    left_out: Mapping[str, str],
    settings: BasisSettings,
) -> Consensus:
    """The basis of a sum whose parts nobody has seen; sites keep the floor of each site.

    Parameters
    ----------
    total : ConnectivitySum
        Over the people of `sites`.
    sites : sequence of str
    left_out : mapping of str to str
        Why others are not in it.
    settings : BasisSettings

    Raises
    ------
    ValueError
        If these people have no basis.
    """
    basis = basis_of_sum(total, settings)
    names = tuple(sorted(sites))
    return Consensus(
        total, total.subjects, basis, total.mean_fc(), names, dict(left_out), {}, compared=False
    )


def _capped(
    sums: Mapping[str, ConnectivitySum],
) -> tuple[dict[str, ConnectivitySum], dict[str, str]]:
    """Sums of which none counts for more than twice an even part of the people; and why."""
    if len(sums) < FEWEST_JUDGED:
        return dict(sums), {}
    most = largest_share([float(one.subjects) for one in sums.values()])
    counting = {
        site: one if one.subjects <= most else one.counting_as(max(int(most), 1))
        for site, one in sums.items()
    }
    reasons = {
        site: f"expected at most {LARGEST_PART / len(sums):.0%} of the people (twice an even "
        f"part), found {one.subjects}; it counts for {counting[site].subjects}"
        for site, one in sums.items()
        if counting[site] is not one
    }
    return counting, reasons
