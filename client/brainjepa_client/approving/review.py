"""A contract in the data manager's words: who asks, what leaves, how often, and what is unusual."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from brainjepa_client.approving.contracts import Contracts, Known
from brainjepa_client.approving.roster import require_in_roster
from brainjepa_client.approving.task_words import (
    phenotypes_in_words,
    tasks_in_words,
    volumes_in_words,
)
from brainjepa_client.consent.audit_log import site_salt
from brainjepa_client.consent.participation import are_same, fingerprints, past_answers
from brainjepa_client.guarding.exactness import require_exact_enough
from brainjepa_client.guarding.policy import Refusal, require_study, require_task
from brainjepa_client.guarding.privacy_budget import PrivateStudy, require_within
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.summing import threshold
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.groups import groups_in_words
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, KINDS
from brainjepa_core.wire.weights import travelling_bytes

FEW_PEOPLE, FEW_STEPS = 4, 5  # of a step, and of a round: fewer show single people
GREAT_RATE = 0.01  # of AdamW; ten times what such models are trained with
NAMED = 8  # settings that differ
DECIDED = {
    "proposed": "not decided yet",
    "approved": "approved it",
    "rejected": "rejected it",
    "withdrawn": "withdrawn from it, for good",
}


def review(site: SiteSettings, known: Known, store: ScanStore) -> list[str]:
    """What to know of a contract before it is approved, a line each.

    Parameters
    ----------
    site : SiteSettings
    known : Known
    store : ScanStore
        The site's.
    """
    contract, assignment = known.contract, known.contract.assignment
    people = len({record.subject for record in store.records})
    lines = [
        f"contract {contract.hash}",
        f"  to compare on the telephone: {in_groups(contract.hash)}",
        f"  study '{assignment.study_id}' of consortium '{contract.consortium}'; this site has "
        + DECIDED[known.decision],
        f"  with {', '.join(contract.roster)}",
        *(f"  {line}" for line in _asked(site, contract, store)),
        f"  floors of this site's policy: sums of at least "
        f"{counted(site.policy.min_people_in_sum, 'person', 'people')}, answers of at least "
        f"{site.policy.min_subjects} of its {people} people",
        *(f"  {line}" for line in _privacy(site, contract, store)),
        *(f"  WARNING: {line}" for line in warnings(contract)),
        *(f"  WARNING: {line}" for line in refused(site, contract, store)),
    ]
    if known.decision == "approved" and known.store != store.fingerprint:
        lines.append("  the store has changed since it was approved: nothing is answered until")
        lines[-1] += " it is approved again"
    return [*lines, *(f"  {line}" for line in _before(site, known, store))]


def _when(site: SiteSettings) -> str:
    least = site.policy.min_people_a_feature
    return f"where each fold has at least {least} people for each feature" if least else "always"


def _asked(site: SiteSettings, contract: Contract, store: ScanStore) -> list[str]:
    """What leaves, how often and how large."""
    assignment = contract.assignment
    rois = len(store.atlas)
    pairs = rois * (rois - 1) // 2
    third = f", and of co-skewness of {pairs + rois}" if assignment.coskewness else ""
    megabytes = _bytes(contract, store) / 1e6
    batch = assignment.pretraining.training.batch_size
    lines = [
        *(
            [f"asked once: sums of correlations of {pairs} pairs of ROIs{third}"]
            if contract.times(GRADIENTS)
            else []
        ),
        f"asked {counted(contract.rounds, 'time')}: {counted(assignment.steps, 'step')} of "
        f"training of {counted(batch, 'person', 'people')} each; {_leaving(contract)} leave, "
        f"{megabytes:.3g} MB each time, {megabytes * contract.rounds:.3g} MB in all",
        _exactness(site, assignment.pretraining.training.tolerance),
        *phenotypes_in_words(assignment.pretraining),
        *volumes_in_words(assignment.pretraining, store),
    ]
    if contract.evaluations:
        lines.append(
            f"asked at most {counted(contract.evaluations, 'time')}, of a sample of at most "
            f"{assignment.evaluate_people} of its people that stays the same: how far probes of "
            "them tell of connectivity, ages and traits; sums over them of embeddings and these, "
            f"{_when(site)}"
        )
    if assignment.protect:
        lines += _summed(contract)
    lines += tasks_in_words(contract)
    return [*lines, "every array and number of an answer: brainjepa site dry-run"]


def _exactness(site: SiteSettings, tolerance: float) -> str:
    asked = f"to {tolerance:g} of exact fp32 or better" if tolerance else "in exact fp32"
    computing, trainer = site.computing, site.trainer
    choices = [computing.in_words] if computing.deviation else []
    choices += [f"reduce: {trainer.reduce}"] if trainer.deviation else []
    largest = max(computing.deviation, trainer.deviation)
    own = f"{' and '.join(choices)}, which is to {largest:g}" if choices else "exact fp32"
    return f"steps are to be computed {asked} (training.tolerance); this site: {own}"


def _shares_noise(contract: Contract) -> bool:
    privacy = contract.assignment.privacy
    return privacy is not None and privacy.is_central


def _leaving(contract: Contract) -> str:
    """What of a round's training leaves."""
    if not _shares_noise(contract):
        return "the model's weights"
    return "people's gradients, each shortened to the clip, added up and with noise,"


def _summed(contract: Contract) -> list[str]:
    """What secure sums change of all that."""
    assignment, sites = contract.assignment, len(contract.roster)
    assert assignment.protect is not None
    clip, groups = assignment.protect.secure_sum.clip, assignment.protect.groups
    once = "it tells of one sum a round, and asked for another set of sites it refuses"
    if assignment.privacy is not None:
        bound = (
            f"the noise is shared: this site adds 1 / {assignment.privacy.honest_sites} of its "
            "variance, and counts on so many sites to add theirs"
        )
    else:
        bound = (
            f"this site shortens its own change of the weights to {clip:g} times one in which each "
            "moves by the learning rate at every step"
        )
    return [
        "all of it within secure sums: what leaves is masked, uniformly "
        f"random numbers, whose sum over at least {threshold(sites)} of the {sites} sites is all "
        "that the coordinator learns; steps and seconds of a round are told beside them",
        *(() if groups is None else (groups_in_words(sites, groups),)),
        f"{bound}; {once}",
    ]


def _privacy(site: SiteSettings, contract: Contract, store: ScanStore) -> list[str]:
    """What the study promises its people, and what is spent; none where it promises nothing."""
    if contract.assignment.privacy is None:
        return []
    try:
        told = PrivateStudy.of(site, contract.asked(0), store).in_words()
    except Refusal as refusal:
        told = str(refusal)
    return [f"differential privacy of each person, epsilon {told}"]


def _bytes(contract: Contract, store: ScanStore) -> int:
    """Bytes of a round's weights as they leave."""
    study, rois = contract.assignment.pretraining, store.atlas.rois
    shape = (len(rois), study.basis.components)
    basis = ConsensusBasis(rois, np.zeros(shape), np.full(shape[1], np.nan))
    model = study.new_model(basis)
    arrays = model_arrays(model)
    followers = contract.assignment.target == "average" and not _shares_noise(contract)
    sent = model.roles.sent(arrays, with_followers=followers)
    return sum(travelling_bytes(arrays[name].shape, contract.assignment.wire) for name in sent)


def warnings(contract: Contract) -> list[str]:
    """Settings under which a round's weights may show single people."""
    assignment, found = contract.assignment, []
    training = assignment.pretraining.training
    if training.batch_size < FEW_PEOPLE:
        people = counted(training.batch_size, "person", "people")
        found.append(f"a step is of {people}: its change of the weights is theirs")
    if assignment.steps < FEW_STEPS and not _shares_noise(contract):
        steps = counted(assignment.steps, "step")
        found.append(f"a round is of {steps}: what leaves shows the few people drawn in it")
    if training.schedule.lr > GREAT_RATE:
        found.append(
            f"a learning rate of {training.schedule.lr:g}, when such models learn with about "
            "0.0005: weights that move far tell more of people"
        )
    return found


def refused(site: SiteSettings, contract: Contract, store: ScanStore) -> list[str]:
    """What this site would refuse of a contract, whatever its manager approves."""
    policy, rois = site.policy, len(store.atlas)
    found: list[str] = []
    demands: list[Callable[[], None]] = [
        partial(require_in_roster, site, contract),
        partial(require_study, policy, contract.assignment, rois),
        partial(require_exact_enough, site, contract.assignment),
        partial(require_within, site, contract, store),
        *(partial(require_task, policy, question.probe) for question in contract.tasks),
    ]
    for demand in demands:
        try:
            demand()
        except Refusal as refusal:
            found.append(f"this site would refuse: {refusal}")
    kinds = [kind for kind in KINDS if kind not in policy.allow]
    if kinds:
        found.append(f"this site's policy refuses {', '.join(kinds)} (policy.allow)")
    return list(dict.fromkeys(found))


def _before(site: SiteSettings, known: Known, store: ScanStore) -> list[str]:
    """What else was asked about these people, and what differs from what was approved last."""
    people = fingerprints((record.subject for record in store.records), site_salt(site.state))
    answers = [answer for answer in past_answers(site.state) if answer.is_about(people)]
    sums = sum(answer.kind in (GRADIENTS, EVALUATE) for answer in answers)
    by = {answer.contract for answer in answers} - {""}
    others = [k for k in Contracts(site.state).known() if k.contract != known.contract]
    approved = [k for k in others if k.decision == "approved"]
    same = [k for k in approved if k.contract.hash in by or are_same(k.people, people)]
    lines = [
        f"asked before about at least half of the same people: {counted(sums, 'sum')} in "
        f"{counted(len(answers), 'answer')}, by {counted(len(by), 'contract')}; "
        f"{counted(len(same), 'other contract')} approved about them"
    ]
    last = approved[-1] if approved else None
    if last is not None:
        names = known.contract.differences(last.contract)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(
            f"differs from the last approved one ({last.contract.short}) in "
            f"{', '.join(names[:NAMED])}{more}"
        )
    return lines


def in_groups(digest: str) -> str:
    """The first half of a hash in groups of four, to be read out."""
    return " ".join(digest[i : i + 4] for i in range(0, len(digest) // 2, 4))
