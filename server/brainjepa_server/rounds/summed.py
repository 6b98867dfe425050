"""A study under secure sums: consensus, rounds and yardstick, each of one sum over all sites."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.gradients.networks import gradient_networks
from brainjepa_core.models.interface import Roles
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.secure_sums.encoding.updates import l2_norm
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN, Assignment, Reply, told_round
from brainjepa_core.wire.summed_people import connectivity_layout, decode_people, yardstick_layout
from brainjepa_core.wire.summed_updates import TrainCode
from brainjepa_server.combining.aggregation import Means
from brainjepa_server.combining.consensus import Consensus, consensus_of_sum
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.record.history import RoundRecord, SiteRecord, SumRecord
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.round import Evaluated, evaluated_arrays
from brainjepa_server.rounds.secure_sums import Question, Summed, clear_sums, secure_sum
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.tasks.yardstick import FederatedYardstick

if TYPE_CHECKING:
    from brainjepa_server.rounds.round import Weights

ALL = "all sites"  # whose reply the sum is read as


def summed_consensus(sites: Sites, settings: StudySettings, rois: Sequence[str]) -> Consensus:
    """The basis of all sites' people, from one sum of connectivity.

    Raises
    ------
    ValueError
        If too few sites answered, or too few people are in the sum.
    """
    layout, rounds = connectivity_layout(len(rois)), settings.rounds
    fewest = max(settings.floors.sites, rounds.quorum)
    assignment, own = settings.assignment(), (fewest, rounds.deadline, rounds.retries)
    found = secure_sum(sites, Question(GRADIENTS, assignment, {}, layout, *own))
    sums = decode_people(found.total, layout, roster_size(sites), len(found.alive))
    total = ConnectivitySum.from_arrays({"rois": np.array(list(rois), np.str_), **sums})
    basis = settings.pretraining.basis
    return consensus_of_sum(total, found.alive, found.gone, settings.floors, basis)


def summed_training(
    sites: Sites,
    settings: StudySettings,
    assignment: Assignment,
    arrays: Arrays,
    roles: Roles,
    heard: Callable[[str, str], None],
) -> tuple[Means, RoundRecord]:
    """The sites' mean weights after a round, and what is known of the round.

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
        If the sum is not one that sites can have: it is the only one of this round.
    """
    number, rounds = assignment.round, settings.rounds
    assert sites.folder is not None
    clear_sums(sites.folder, number)
    names = roles.sent(arrays, with_followers=settings.aggregation.target == "average")
    base = {name: arrays[name] for name in names}
    shapes = {name: value.shape for name, value in base.items()}
    code = TrainCode.of(assignment, shapes, roster_size(sites))
    question = Question(TRAIN, assignment, arrays, code.layout, rounds.quorum, rounds.deadline)
    found = secure_sum(sites, question, lambda name: heard(name, ""))
    for site, reason in found.gone.items():
        heard(site, reason)
    try:
        mean = code.decode(found.total, len(found.alive))
    except ValueError as error:
        raise SumLost(str(error)) from error
    length = l2_norm(base)
    told = SumRecord(
        attempt=found.attempt + 1,
        loss=mean.loss,
        share=mean.shares,
        norm=mean.norm / length if length else math.nan,
    )
    record = RoundRecord(
        number=told_round(number),
        first_step=assignment.first_step,
        bytes_down=sum(one.bytes_down for one in found.told.values()),
        bytes_up=sum(one.bytes_up for one in found.told.values()),
        sites=_records(found, assignment.steps),
        rejected=found.gone,
        summed=told,
    )
    return mean.onto(base), record


def _records(found: Summed, steps: int) -> dict[str, SiteRecord]:
    """Of each site in the sum: what is known without its reply."""
    return {
        site: SiteRecord(
            steps=steps,
            seconds=found.told[site].seconds,
            bytes_up=found.told[site].bytes_up,
            bytes_down=found.told[site].bytes_down,
        )
        for site in found.alive
    }


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
    widths = summed_widths(settings, basis, sites.networks)
    layout = yardstick_layout(widths, components.shape[1], settings.folds)
    assignment, deadline = settings.assignment(number), settings.rounds.deadline
    question = Question(EVALUATE, assignment, arrays, layout, settings.rounds.quorum, deadline)
    with FederatedYardstick(settings.folds, settings.held_out_fold, sites.folder) as yardstick:
        try:
            found = secure_sum(sites, question)
            sums = decode_people(found.total, layout, roster_size(sites), len(found.alive))
            yardstick.add(ALL, Reply(arrays=sums))
        except (QuorumMissed, RejectedReply, ValueError) as error:
            return Evaluated([], {}, {ALL: str(error)})
        rows = yardstick.measure(model).rows
    alone = {"r2_at_sites": None}  # the sum is not a site
    return Evaluated([row.model_copy(update=alone) for row in rows], {}, found.gone)


@torch.no_grad()
def summed_widths(settings: StudySettings, basis: Float32, networks: int) -> dict[str, int]:
    """Features of each pool that are summed, which sites measure as well."""
    shape = settings.pretraining.model_settings(len(basis))
    model = settings.pretraining.model_family.new(shape, basis, seed=0)
    width = model.encode(torch.zeros(1, len(basis), shape.frames)).shape[-1]
    count = networks or int(gradient_networks(basis).max()) + 1
    pairs, most = count * (count + 1) // 2, settings.assignment().features_summed
    return {pool: min(pairs if pool == HEADLINE else width, most) for pool in POOLS}


def roster_size(sites: Sites) -> int:
    """How many sites the contract of a study under secure sums has."""
    assert sites.contract is not None
    return len(sites.contract.roster)
