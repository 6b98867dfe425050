"""How an attack asks a site: with any settings, under a new name where one is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainjepa_core.arrays import Arrays
from brainjepa_core.origin import digest
from brainjepa_core.wire.messages import Assignment, Reply, Request

Ask = Callable[[Request], Reply]


def insist(ask: Ask, kind: str, study: Assignment, arrays: Arrays, **changes: Any) -> Reply:
    """The answer to a question, or to the same one as that of another study.

    Parameters
    ----------
    ask : callable
        Takes a `Request`, gives the site's `Reply`.
    kind : str
    study : Assignment
        What the site has agreed to, if it has to.
    arrays : dict of str to ndarray
    **changes
        Fields of the assignment that the attack wants otherwise.
    """
    wanted = study.model_copy(update=changes)
    reply = ask(Request(kind, wanted, arrays))
    if not reply.refusal:
        return reply
    name = digest(wanted.model_dump(mode="json"))[:32]
    return ask(Request(kind, wanted.model_copy(update={"study_id": name}), arrays))


def seeded(study: Assignment, seed: int) -> Any:
    """The study's settings with another seed, which splits its people otherwise."""
    training = study.pretraining.training.model_copy(update={"seed": seed})
    return study.pretraining.model_copy(update={"training": training})
