"""One round: ask sites to train, judge each reply, combine them; or ask them to evaluate.

A reply is judged twice: by itself as it is read, then beside the others once all are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.models.roles import Roles
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.problems import reasons_after
from brainjepa_core.sums.protocol import MOST_PEOPLE
from brainjepa_core.wire.messages import (
    BASIS,
    COMPONENTS,
    EVALUATE,
    NOT_READ,
    TRAIN,
    Assignment,
    Reply,
    told_round,
)
from brainjepa_core.wire.told_numbers import RANGES
from brainjepa_server.combining.aggregation import Means
from brainjepa_server.combining.judging import JudgedReplies
from brainjepa_server.combining.limits import Limits
from brainjepa_server.combining.outer import OuterOptimizer, next_weights
from brainjepa_server.combining.validation import RejectedReply, Update
from brainjepa_server.combining.validation import number as number_of
from brainjepa_server.record.history import RoundRecord, SiteRecord, YardstickRow
from brainjepa_server.record.sum_records import SumRecord
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.rounds.sites import Answer, Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.tasks.yardstick import FederatedYardstick

Weights = dict[str, Float32]
Heard = Callable[[str, str], None]  # told of each site that answered, and later why it is left out


class Evaluated(NamedTuple):
    """What the sites' evaluate replies come to.

    Attributes
    ----------
    rows : list of YardstickRow
    drift : dict of str to float
        Each site's, in degrees.
    rejected : dict of str to str
        Why other sites are not in it.
    not_read : dict of str to int
        How many of a site's people are not in its sample, as the site rounds.
    """

    rows: list[YardstickRow]
    drift: dict[str, float]
    rejected: dict[str, str]
    not_read: dict[str, int]


def chosen_sites(settings: StudySettings, names: list[str], number: int) -> list[str]:
    """Sites asked in a round, in order of name: a function of names, seed and round."""
    names = sorted(names)
    if settings.rounds.sites is None or settings.rounds.sites >= len(names):
        return names
    rng = np.random.default_rng([settings.pretraining.training.seed, number])
    return sorted(rng.choice(names, settings.rounds.sites, replace=False).tolist())


def train_round(
    sites: Sites,
    settings: StudySettings,
    number: int,
    weights: Weights,
    basis: Float32,
    outer: OuterOptimizer,
    heard: Heard,
) -> tuple[Weights, RoundRecord]:
    """Run a round.

    Parameters
    ----------
    sites : Sites
    settings : StudySettings
    number : int
        From 0, as messages count.
    weights : dict of str to ndarray of float32
        Global weights at the start.
    basis : ndarray of float32 [R, m]
    outer : OuterOptimizer
        Its state moves on.
    heard : callable
        Called with each site's name as it answers, and again with the reason if it is left out.

    Returns
    -------
    weights : dict of str to ndarray of float32
    record : RoundRecord

    Raises
    ------
    QuorumMissed
        If fewer usable replies came than the quorum; weights and outer state are unchanged.
    """
    began, assignment = time.perf_counter(), settings.assignment(number)
    collect = _summed if settings.sums else _judged
    found = collect(sites, settings, assignment, {**weights, BASIS: basis}, outer.roles, heard)
    schedule = settings.pretraining.training.schedule
    steps = range(assignment.first_step, assignment.first_step + assignment.steps)
    momenta = [values_at(schedule, step).momentum for step in steps]
    new = next_weights(outer, settings.aggregation, weights, found.weights, number, momenta)
    seconds = time.perf_counter() - began
    return new, found.record.model_copy(
        update={
            "seconds": seconds,
            "seconds_beyond_sites": _beyond(seconds, found.record.sites, sites.own_machines),
        }
    )


class _Collected(NamedTuple):
    """The sites' weights combined, and what is recorded of how."""

    weights: Means
    record: RoundRecord


def _judged(
    sites: Sites,
    settings: StudySettings,
    assignment: Assignment,
    arrays: Arrays,
    roles: Roles,
    heard: Heard,
) -> _Collected:
    """Replies, each judged by itself and beside the others."""
    number = assignment.round
    names = chosen_sites(settings, list(sites.nodes), number)
    answers: dict[str, Answer] = {}
    rejected: dict[str, str] = {}
    with JudgedReplies(
        arrays,
        settings.aggregation,
        roles,
        assignment.steps,
        sites.folder,
        private=settings.privacy is not None,
    ) as replies:
        for answer in sites.ask(
            TRAIN, assignment, arrays, names, settings.rounds.deadline, lambda name: heard(name, "")
        ):
            answers[answer.site] = replace(answer, reply=Reply())
            try:
                replies.take(answer.site, answer.reply, answer.counts, answer.buffer)
            except RejectedReply as error:
                rejected[answer.site] = str(error)
                heard(answer.site, str(error))
            del answer  # before the next one is read
        limits = replies.limits()
        for site, reason in limits.rejected.items():
            rejected[site] = reason
            heard(site, reason)
        _require_quorum(settings, number, len(limits.shares), rejected)
        combined = replies.combine(limits)
    record = RoundRecord(
        number=told_round(number),
        first_step=assignment.first_step,
        bytes_down=sum(answer.bytes_down for answer in answers.values()),
        bytes_up=sum(answer.bytes_up for answer in answers.values()),
        sites={
            site: _site_record(replies.updates[site], limits, assignment.steps, answers[site])
            for site in limits.shares
        },
        rejected=rejected,
        clipped=limits.clipped,
        capped=limits.capped,
    )
    return _Collected(combined, record)


def _summed(
    sites: Sites,
    settings: StudySettings,
    assignment: Assignment,
    arrays: Arrays,
    roles: Roles,
    heard: Heard,
) -> _Collected:
    """One secure sum in place of replies."""
    from brainjepa_server.rounds.summed import summed_training

    means, record = summed_training(sites, settings, assignment, arrays, roles, heard)
    return _Collected(means, record)


def dropped_round(
    settings: StudySettings, number: int, names: Iterable[str], lost: Exception
) -> RoundRecord:
    """The record of a round whose only secure sum was lost: the weights stay as they were."""
    return RoundRecord(
        number=told_round(number),
        first_step=settings.assignment(number).first_step,
        rejected=dict.fromkeys(sorted(names), str(lost)),
        summed=SumRecord(),
    )


def evaluate(
    sites: Sites,
    settings: StudySettings,
    number: int,
    weights: Weights,
    basis: Float32,
    components: Float64,
    model: str,
) -> Evaluated:
    """Yardstick of some weights over all sites, which get those that embedding reads.

    A site whose reply cannot be used is left out of the yardstick, whatever the round made of it.
    """
    if settings.sums:
        from brainjepa_server.rounds.summed import summed_yardstick

        return summed_yardstick(sites, settings, number, weights, basis, components, model)
    drift: dict[str, float] = {}
    not_read: dict[str, int] = {}
    rejected: dict[str, str] = {}
    arrays = evaluated_arrays(settings, weights, basis, components)
    assignment, deadline = settings.assignment(number), settings.rounds.deadline
    with FederatedYardstick(settings.folds, settings.held_out_fold, sites.folder) as yardstick:
        for answer in sites.ask(EVALUATE, assignment, arrays, sorted(sites.nodes), deadline):
            try:
                yardstick.add(answer.site, answer.reply, answer.counts)
            except RejectedReply as error:
                rejected[answer.site] = str(error)
                continue
            told = answer.reply.metrics
            with suppress(RejectedReply):
                not_read[answer.site] = int(number_of(told, NOT_READ, 0, MOST_PEOPLE, whole=True))
            with suppress(RejectedReply):
                drift[answer.site] = number_of(told, "drift", *RANGES["drift"])
        measured = yardstick.measure(model)
    return Evaluated(measured.rows, drift, rejected | measured.left_out, not_read)


def evaluated_arrays(
    settings: StudySettings, weights: Weights, basis: Float32, components: Float64
) -> Arrays:
    """What sites get for an evaluation."""
    read = settings.pretraining.model_family.model.roles.read(weights)
    return {**{n: weights[n] for n in read}, BASIS: basis, COMPONENTS: components}


def _site_record(update: Update, limits: Limits, steps: int, answer: Answer) -> SiteRecord:
    known = ("loss", "loss_last", "seconds")
    return SiteRecord(
        steps=steps,
        share=limits.shares[answer.site],
        norm=update.norm,
        scale=limits.scales[answer.site],
        bytes_up=answer.bytes_up,
        bytes_down=answer.bytes_down,
        metrics={k: v for k, v in update.metrics.items() if k not in (*known, "share")},
        **{k: update.metrics.get(k) for k in known},
    )


def _require_quorum(
    settings: StudySettings, number: int, usable: int, rejected: Mapping[str, str]
) -> None:
    if usable < settings.rounds.quorum:
        raise QuorumMissed(
            f"expected at least {settings.rounds.quorum} usable replies (rounds.quorum) in round "
            f"{told_round(number)}, found {usable}; mend the sites and resume, which repeats "
            f"this round{reasons_after(rejected)}"
        )


def _beyond(seconds: float, records: Mapping[str, SiteRecord], own_machines: bool) -> float:
    """Seconds in which no site was at work: sites took turns, or else worked side by side."""
    own = [record.seconds or 0.0 for record in records.values()]
    if not own_machines and sum(own) <= seconds:
        return seconds - sum(own)
    return seconds - min(seconds, max(own, default=0.0))
