"""A study under secure sums: consensus, rounds and yardstick, of sums over all sites or groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.consortium.summing import FEWEST
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.gradients.networks import gradient_networks
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.models.roles import Roles
from brainjepa_core.secure_sums.encoding.updates import l2_norm
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN, Assignment, Reply, told_round
from brainjepa_core.wire.summed_people import connectivity_layout, yardstick_layout
from brainjepa_core.wire.summed_updates import SummedUpdate, TrainCode
from brainjepa_server.combining.aggregation import Means
from brainjepa_server.combining.consensus import ARRAYS, Consensus, consensus_of_sum
from brainjepa_server.combining.coskewness import sent_coskewness
from brainjepa_server.combining.group_means import combined, middle
from brainjepa_server.combining.summed_counts import ONE_PART, counted_people, require_told_together
from brainjepa_server.combining.validation import Counts, RejectedReply
from brainjepa_server.record.history import RoundRecord, SiteRecord
from brainjepa_server.record.sum_records import GroupRecord, SumRecord
from brainjepa_server.rounds.one_sum import Question, Summed
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.round import Evaluated, evaluated_arrays
from brainjepa_server.rounds.secure_sums import clear_sums, require_most, secure_sums
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.rounds.summed_people import summed_people
from brainjepa_server.settings import StudySettings
from brainjepa_server.tasks.yardstick import FederatedYardstick

if TYPE_CHECKING:
    from brainjepa_server.rounds.round import Weights

ALL = "all sites"  # whose reply the sum is read as


def summed_consensus(sites: Sites, settings: StudySettings, rois: Sequence[str]) -> Consensus:
    """The basis of all sites' people, from one sum of connectivity (and co-skewness).

    Raises
    ------
    ValueError
        If too few sites answered, or too few people are in the sum: each group of a study with
        groups has to hold as many as the floor says.
    """
    layout = connectivity_layout(len(rois), coskewness=settings.coskewness)
    rounds, floors = settings.rounds, settings.floors
    fewest = max(floors.sites, rounds.quorum)
    assignment, own = settings.assignment(), (fewest, rounds.deadline, rounds.retries)
    (found,) = secure_sums(sites, Question(GRADIENTS, assignment, {}, layout, *own))
    sums = summed_people(sites, found, layout)
    shared = {"rois": np.array(list(rois), np.str_), "subjects": sums["subjects"]}
    total = ConnectivitySum.from_arrays({**shared, **{name: sums[name] for name in ARRAYS}})
    _require_people(total.subjects, found, sites, settings)
    third = sent_coskewness(sums, shared) if settings.coskewness else None
    return consensus_of_sum(total, found.alive, found.gone, settings.pretraining.basis, third)


def _require_people(people: int, found: Summed, sites: Sites, settings: StudySettings) -> None:
    """Refuse a consensus of too few people, where no site counts for more than its part."""
    floors, groups = settings.floors, _groups(settings)
    told = [sites.counts[site].subjects for site in found.alive if site in sites.counts]
    claimed = min(people, sum(told)) if told else people  # what is above may be one site's lie
    counted = counted_people(claimed, told)
    if counted >= groups * floors.subjects:
        return
    each = f" for each of {groups} groups" if groups > 1 else " over all sites"
    part = f" of {claimed}{ONE_PART}" if counted < claimed else ""
    rounded = ", by what sites told when they joined, rounded down" if claimed < people else ""
    raise ValueError(
        f"expected at least {floors.subjects} subjects{each} (floors.subjects), found "
        f"{counted}{part} in all{rounded}; wait for more sites"
        + (", or take fewer groups (protect.groups)" if groups > 1 else "")
    )


def summed_training(
    sites: Sites,
    settings: StudySettings,
    assignment: Assignment,
    arrays: Arrays,
    roles: Roles,
    heard: Callable[[str, str], None],
) -> tuple[Means, RoundRecord]:
    """The sites' mean weights after a round, and what is known of the round.

    Of groups, each weight is the middle of the groups' means (``aggregation.combine``).

    Parameters
    ----------
    sites : Sites
    settings : StudySettings
    assignment : Assignment
        Of the round.
    arrays : dict of str to ndarray of float32
        The round's global weights, and the basis.
    roles : Roles
        Of the model's arrays.
    heard : callable
        Called with each site's name as its masked answer comes, and of those that are gone again
        with the reason.

    Raises
    ------
    QuorumMissed
        If too few sites answered.
    SumLost
        If the sums are none that sites can have: they are the only ones of this round.
    """
    assert sites.folder is not None
    clear_sums(sites.folder, assignment.round)
    names = roles.sent(arrays, with_followers=settings.aggregation.target == "average")
    base = {name: arrays[name] for name in names}
    shapes = {name: value.shape for name, value in base.items()}
    sums = secure_sums(
        sites, _training(settings, assignment, arrays, shapes), lambda name: heard(name, "")
    )
    updates = _decoded(sums, assignment, shapes, sites.counts)
    gone = _gone(sums)
    for site, reason in gone.items():
        heard(site, reason)
    used = [one for one in updates if one is not None]
    alive = [site for one in sums if one.lost is None for site in one.alive]
    if len(alive) < settings.rounds.quorum:
        raise QuorumMissed(
            f"expected at least {settings.rounds.quorum} sites in the sums of a round "
            f"(rounds.quorum), found {len(alive)}; mend the sites and resume"
        )
    record = RoundRecord(
        number=told_round(assignment.round),
        first_step=assignment.first_step,
        bytes_down=sum(site.bytes_down for one in sums for site in one.told.values()),
        bytes_up=sum(site.bytes_up for one in sums for site in one.told.values()),
        sites=records_of(sums, assignment.steps),
        rejected=gone,
    )
    length = l2_norm(base)
    told = SumRecord(
        attempt=max(one.attempt for one in sums) + 1,
        loss=float(middle(np.array([one.loss for one in used]), settings.aggregation)),
        share=sum(one.shares for one in used),
        groups=_group_records(sums, updates, length) if len(sums) > 1 else (),
    )
    moved = combined(used, settings.aggregation)
    told = told.model_copy(update={"norm": l2_norm(moved) / length if length else None})
    for name, value in moved.items():
        value += base[name]
    return moved, record.model_copy(update={"summed": told})


def _training(
    settings: StudySettings,
    assignment: Assignment,
    arrays: Arrays,
    shapes: Mapping[str, tuple[int, ...]],
) -> Question:
    """What is asked in a round; floors of sites and people hold for each group."""
    floors, rounds = settings.floors, settings.rounds
    layout = TrainCode.of(assignment, shapes, FEWEST).layout  # the same whoever sums
    fewest, people = rounds.quorum, 0
    if _groups(settings) > 1:
        fewest, people = floors.sites, floors.subjects
    return Question(TRAIN, assignment, arrays, layout, fewest, rounds.deadline, people=people)


def _decoded(
    sums: list[Summed],
    assignment: Assignment,
    shapes: Mapping[str, tuple[int, ...]],
    counts: Mapping[str, Counts],
) -> list[SummedUpdate | None]:
    """Each sum's mean update; a sum that no sites can have is lost.

    Raises
    ------
    SumLost
        As `require_most`.
    """
    found: list[SummedUpdate | None] = []
    for one in sums:
        code = TrainCode.of(assignment, shapes, len(one.sites))
        update = None
        if one.lost is None:
            try:
                decoded = code.decode(one.total, len(one.alive))
                if assignment.share != "equal":
                    require_told_together(decoded.shares, assignment.share, one.alive, counts)
                update = decoded
            except ValueError as error:
                one.lost = SumLost(str(error))
        found.append(update)
    require_most(sums)
    return found


def _gone(sums: list[Summed]) -> dict[str, str]:
    """Why sites are in no sum of a round: they left it, or the sum of their group was lost."""
    gone = {site: why for one in sums for site, why in one.gone.items()}
    lost = {
        site: f"the sum of its group was left out: {one.lost}"
        for one in sums
        if one.lost is not None
        for site in one.told
    }
    return {**lost, **gone}


def records_of(sums: list[Summed], steps: int) -> dict[str, SiteRecord]:
    """Of each site in the sums: what is known without its reply."""
    return {
        site: SiteRecord(
            steps=steps,
            seconds=one.told[site].seconds,
            bytes_up=one.told[site].bytes_up,
            bytes_down=one.told[site].bytes_down,
        )
        for one in sums
        if one.lost is None
        for site in one.alive
    }


def _group_records(
    sums: list[Summed], updates: list[SummedUpdate | None], length: float
) -> tuple[GroupRecord, ...]:
    """Of each group of a round: who is in it, and what its sum came to, or why it has none."""
    found = []
    for one, update in zip(sums, updates, strict=True):
        told = GroupRecord(sites=one.sites, left_out=str(one.lost or ""))
        if update is not None:
            norm = update.norm / length if length else None
            known = {"loss": update.loss, "share": update.shares, "norm": norm}
            told = GroupRecord(sites=one.sites, **known)
        found.append(told)
    return tuple(found)


def summed_yardstick(
    sites: Sites,
    settings: StudySettings,
    number: int,
    weights: Weights,
    basis: Float32,
    components: Float64,
    model: str,
) -> Evaluated:
    """Yardstick of some weights from one sum of moments; of no site by itself.

    Where the sum fails, the round has no yardstick, and nothing else is lost.
    """
    arrays = evaluated_arrays(settings, weights, basis, components)
    most = settings.assignment().yardstick_features_summed
    widths = summed_widths(settings, basis, sites.networks, most)
    layout = yardstick_layout(widths, components.shape[1], settings.folds)
    assignment, deadline = settings.assignment(number), settings.rounds.deadline
    question = Question(EVALUATE, assignment, arrays, layout, settings.rounds.quorum, deadline)
    with FederatedYardstick(settings.folds, settings.held_out_fold, sites.folder) as yardstick:
        try:
            (found,) = secure_sums(sites, question)
            sums = summed_people(sites, found, layout)
            yardstick.add(ALL, Reply(arrays=sums))
        except (QuorumMissed, RejectedReply, ValueError) as error:
            return Evaluated([], {}, {ALL: str(error)}, {})
        rows = yardstick.measure(model).rows
    alone: dict[str, object] = {"at_sites": {}}  # the sum is not a site
    return Evaluated([row.model_copy(update=alone) for row in rows], {}, found.gone, {})


@torch.no_grad()
def summed_widths(
    settings: StudySettings, basis: Float32, networks: int, most: int
) -> dict[str, int]:
    """Features of each pool that are summed, `most` at most, which sites measure as well."""
    shape = settings.pretraining.model_settings(len(basis))
    model = settings.pretraining.model_family.new(shape, basis, seed=0)
    width = model.encode(torch.zeros(1, len(basis), shape.frames)).shape[-1]
    count = networks or int(gradient_networks(basis).max()) + 1
    pairs = count * (count + 1) // 2
    return {pool: min(pairs if pool == HEADLINE else width, most) for pool in POOLS}


def _groups(settings: StudySettings) -> int:
    return settings.sums.groups or 1 if settings.sums else 1
