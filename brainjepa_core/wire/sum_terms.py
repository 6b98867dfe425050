"""Which secure sums a question of a contract is: alike at the coordinator and at each site."""

from __future__ import annotations

import hashlib

from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.groups import groups_of
from brainjepa_core.wire.messages import EVALUATE, TRAIN, ProbeRequest, SumStep

_OF_WEIGHTS = 32  # characters of a digest
_OF_TASK = 16


def terms_of(
    contract: Contract, kind: str, number: int, question: SumStep, probe: ProbeRequest | None = None
) -> tuple[SumTerms, ...]:
    """Terms of the sums of round `number`, counted from 0, that a step is part of.

    There is one over the whole roster, or of updates one for each group of it. The yardstick may be
    asked of several models in one round, and of one model only once in all: two sums of the same
    moments over other sites would differ by one site's. So may a task.
    """
    name = kind
    if kind == EVALUATE:
        name, number = f"{kind}-{question.question[:_OF_WEIGHTS]}", 0
    if probe is not None:
        about = hashlib.sha256(probe.model_dump_json().encode()).hexdigest()
        name = f"{name}-{about[:_OF_TASK]}"
    protect = contract.assignment.protect
    groups: tuple[tuple[str, ...], ...] = (tuple(contract.roster),)
    if kind == TRAIN and protect is not None and protect.groups is not None:
        groups = groups_of(contract.roster, contract.hash, number, protect.groups)
    return tuple(
        SumTerms(
            contract.consortium,
            contract.hash,
            name,
            number,
            question.question,
            {site: contract.roster[site] for site in group},
            question.attempt,
        )
        for group in groups
    )


def terms_at(
    site: str,
    contract: Contract,
    kind: str,
    number: int,
    question: SumStep,
    probe: ProbeRequest | None = None,
) -> SumTerms:
    """Terms of the one sum that a site is part of; the draw is its own, not the coordinator's.

    Raises
    ------
    ValueError
        If there is none.
    """
    for terms in terms_of(contract, kind, number, question, probe):
        if site in terms.roster:
            return terms
    raise ValueError(
        f"expected this site, '{site}', in the roster of the contract, found "
        f"{', '.join(contract.roster)[:200]}; propose the study again, with this site"
    )
