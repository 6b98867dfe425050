"""What all sites have in common, from their sums, computed once before training.

One basis of summed connectivity; where a study asks for it, the sum of co-skewness beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum
from brainjepa_core.problems import reasons_after
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.sums.protocol import MOST_COUNTED
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.agreement import odd_ones
from brainjepa_server.combining.coskewness import (
    SENT,
    SummedCoskewness,
    loud_ones,
    loudness,
    sent_coskewness,
)
from brainjepa_server.combining.limits import FEWEST_JUDGED, LARGEST_PART, largest_share
from brainjepa_server.combining.validation import (
    Counts,
    RejectedReply,
    number,
    of_known_names,
    require_answer,
    require_told,
)
from brainjepa_server.combining.waiting.sums import Sum, WaitingSums
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
    coskewness : SummedCoskewness, optional
        Where the study asks for it.
    """

    total: ConnectivitySum
    people: int
    basis: ConsensusBasis
    mean_fc: Float64
    sites: tuple[str, ...]
    left_out: dict[str, str]
    capped: dict[str, str]
    compared: bool
    coskewness: SummedCoskewness | None = None


def check_sums(
    reply: Reply,
    rois: Sequence[str],
    floor: int,
    counts: Counts | None = None,
    *,
    coskewness: bool = False,
) -> tuple[ConnectivitySum, CoskewnessSum | None]:
    """Judge a site's sums over its people.

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
    coskewness : bool
        Whether the study asks for it.

    Returns
    -------
    ConnectivitySum, and CoskewnessSum or None

    Raises
    ------
    RejectedReply
        And nothing else, whatever the reply is.
    """
    try:
        return _checked(reply, rois, floor, counts, coskewness)
    except RejectedReply:
        raise
    except Exception as error:  # the last line of defence against a site's bytes
        raise RejectedReply(
            f"expected sums as agreed, found some that raise {type(error).__name__}; "
            "check the site's version"
        ) from error


def _checked(
    reply: Reply, rois: Sequence[str], floor: int, counts: Counts | None, coskewness: bool
) -> tuple[ConnectivitySum, CoskewnessSum | None]:
    require_answer(reply, (*ARRAYS, *SENT) if coskewness else ARRAYS)
    subjects = np.array(number(reply.metrics, "subjects", 0, MOST_COUNTED, whole=True), np.int64)
    if subjects < floor:
        raise RejectedReply(
            f"expected at least {floor} subjects, found {subjects}; "
            "a basis of few people is about those people"
        )
    require_told(int(subjects), counts)
    shared = {"rois": np.array(list(rois), np.str_), "subjects": subjects}
    with of_known_names():
        own = {name: reply.arrays[name] for name in ARRAYS}
        connectivity = ConnectivitySum.from_arrays({**shared, **own})
        return connectivity, sent_coskewness(reply.arrays, shared) if coskewness else None


def build_consensus(
    replies: Iterable[tuple[str, Reply]],
    rois: Sequence[str],
    floors: FloorSettings,
    settings: BasisSettings,
    counts: Mapping[str, Counts],
    folder: Path | None = None,
    *,
    coskewness: bool = False,
) -> Consensus:
    """Sum what the sites sent and compute the basis of all their people.

    Each sum is judged by itself, then beside the others: a site whose mean connectivity is not like
    theirs is left out, and of three or more none counts for more than 2 / sites of the people.
    Sums wait on disk until all are there, so that memory does not grow with the number of sites,
    and are added in order of name, so that the same replies give the same bits in whatever order
    they arrived.

    Parameters
    ----------
    replies : iterable of (str, Reply)
        Each site's reply to ``gradients``; looked at once, one at a time.
    rois : sequence of str
        The study's ROI names in order.
    floors : FloorSettings
    settings : BasisSettings
    counts : mapping of str to Counts
        What sites told of when they joined.
    folder : Path, optional
        Where sums wait; the system's place by default.
    coskewness : bool
        Whether the study asks for it.

    Returns
    -------
    Consensus

    Raises
    ------
    ValueError
        If too few sites or people are left, or these have no basis (`basis_of_sum`).
    """
    left_out: dict[str, str] = {}
    loud: dict[str, float] = {}
    with (
        WaitingSums(ConnectivitySum, rois, folder) as sums,
        WaitingSums(CoskewnessSum, rois, folder) as thirds,
    ):
        for site, reply in replies:
            floor, told = floors.subjects_per_site, counts.get(site)
            try:
                one, third = check_sums(reply, rois, floor, told, coskewness=coskewness)
            except RejectedReply as error:
                left_out[site] = str(error)
                continue
            sums.take(site, one)
            if third is not None:
                thirds.take(site, third)
                loud[site] = loudness(third)
        compared = len(sums) >= FEWEST_JUDGED
        odd = odd_ones(sums, folder)
        left_out = dict(sorted(left_out.items())) | odd
        lowered, capped = _kept(sums, odd, floors, left_out)
        total = _total(ConnectivitySum(rois), sums, lowered)
        sites, people = tuple(sums), sum(sums.people.values())
        summed = None
        if coskewness:
            too_loud = loud_ones({site: loud[site] for site in sites})
            lowered, _ = _kept(thirds, [*odd, *too_loud], floors, left_out | too_loud)
            summed = SummedCoskewness(_total(CoskewnessSum(rois), thirds, lowered), too_loud)
    basis = basis_of_sum(total, settings)
    mean_fc = total.mean_fc()
    return Consensus(total, people, basis, mean_fc, sites, left_out, capped, compared, summed)


def _kept(
    sums: WaitingSums[Sum], odd: Iterable[str], floors: FloorSettings, left_out: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, str]]:
    """Leave the odd ones out; what the others count for (`_capped`), if they are enough."""
    for site in odd:
        sums.leave_out(site)
    _require_enough(sums.people, floors, left_out)
    return _capped(sums.people)


def _total(nobody: Sum, sums: WaitingSums[Sum], lowered: Mapping[str, int]) -> Sum:
    """The sum over all sites, each for no more people than it counts for."""
    total = nobody
    for site, one in sums.items():
        total += one.counting_as(lowered.get(site, one.subjects))
    return total


def _require_enough(
    people: Mapping[str, int], floors: FloorSettings, left_out: Mapping[str, str]
) -> None:
    """Refuse sums of too few sites or people."""
    reasons = reasons_after({f"{site} was left out": why for site, why in left_out.items()})
    if len(people) < floors.sites:
        raise ValueError(
            f"expected usable connectivity of at least {floors.sites} sites (floors.sites), found "
            f"{len(people)}; wait for more sites{reasons}"
        )
    if sum(people.values()) < floors.subjects:
        raise ValueError(
            f"expected at least {floors.subjects} subjects over all sites (floors.subjects), found "
            f"{sum(people.values())}; wait for more sites{reasons}"
        )


def consensus_of_sum(
    total: ConnectivitySum,
    sites: Sequence[str],
    left_out: Mapping[str, str],
    settings: BasisSettings,
    coskewness: CoskewnessSum | None = None,
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
    coskewness : CoskewnessSum, optional
        Over the same people, where the study asks for it.

    Raises
    ------
    ValueError
        If these people have no basis.
    """
    basis = basis_of_sum(total, settings)
    names, third = tuple(sorted(sites)), None
    if coskewness is not None:
        third = SummedCoskewness(coskewness, {})
    return Consensus(
        total, total.subjects, basis, total.mean_fc(), names, dict(left_out), {}, False, third
    )


def _capped(people: Mapping[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """What sites count for that have more than twice an even part of the people; and why."""
    if len(people) < FEWEST_JUDGED:
        return {}, {}
    most = largest_share([float(one) for one in people.values()])
    lowered = {site: max(int(most), 1) for site in sorted(people) if people[site] > most}
    reasons = {
        site: f"expected at most {LARGEST_PART / len(people):.0%} of the people (twice an even "
        f"part), found {people[site]}; it counts for {fewer}"
        for site, fewer in lowered.items()
    }
    return lowered, reasons
