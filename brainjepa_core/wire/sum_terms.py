"""Which secure sum a question of a contract is: alike at the coordinator and at each site."""

from __future__ import annotations

import hashlib

from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import EVALUATE, ProbeRequest, SumStep

_OF_WEIGHTS = 32  # characters of a digest
_OF_TASK = 16


def terms_of(
    contract: Contract, kind: str, number: int, question: SumStep, probe: ProbeRequest | None = None
) -> SumTerms:
    """Terms of the sum of round `number`, counted from 0, that a step is part of.

    The yardstick may be asked of several models in one round, and of one model only once in all:
    two sums of the same moments over other sites would differ by one site's. So may a task.
    """
    name = kind
    if kind == EVALUATE:
        name, number = f"{kind}-{question.question[:_OF_WEIGHTS]}", 0
    if probe is not None:
        about = hashlib.sha256(probe.model_dump_json().encode()).hexdigest()
        name = f"{name}-{about[:_OF_TASK]}"
    return SumTerms(
        contract.consortium,
        contract.hash,
        name,
        number,
        question.question,
        contract.roster,
        question.attempt,
    )
