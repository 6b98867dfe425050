"""A site's privacy budget, and what of it is spent, in a data manager's words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from brainjepa_core.privacy.accounting import DELTA
from brainjepa_core.settings import Frozen


class Budget(Frozen):
    """The most that all studies together may tell of a person of this site.

    Attributes
    ----------
    epsilon : float
        Of all studies together, by the person of whom most was told.
    delta : float
        Probability with which more may be told; at most a tenth of a person
        (`accounting.require_delta`).
    """

    epsilon: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(DELTA, gt=0, lt=1)


@dataclass(frozen=True)
class Cost:
    """What is spent of a budget, by the person who has spent most.

    Attributes
    ----------
    epsilon : float
        Where as many sites as was promised follow the protocol.
    alone : float
        Where this site is the only one that does; larger where sites share noise.
    delta : float
    """

    epsilon: float
    alone: float
    delta: float

    def of(self, budget: Budget, honest_sites: int = 1) -> str:
        """For `review`: ``4.2 of 8 (delta 1e-05)``, with both numbers where sites share noise."""
        told = f"{words(self.epsilon)} of {budget.epsilon:g} (delta {self.delta:g})"
        if self.alone <= self.epsilon:
            return told
        return (
            f"{told} if at least {honest_sites} sites follow the protocol; "
            f"{words(self.alone)} if this one alone does"
        )


def words(epsilon: float) -> str:
    """An epsilon to three digits, rounded up: 4.2, 0.0312, 12."""
    if epsilon <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / step - 1e-9) * step:.3g}"
