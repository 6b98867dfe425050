"""How much of held-out people the global model tells, from sums that the sites send.

Ridge regression needs people's embeddings and outcomes only as moments, and moments of sites add
up: the figures are those of one fit on all people pooled, and no embedding leaves a site.

Shapes: P features of a pool, Q outcomes of a group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.measure import Row
from brainjepa_core.evaluation.moments import FIELDS, PREFIX, Group, moments_from_arrays
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.sums.ridge import (
    ALPHAS,
    RESOLVED,
    Moments,
    Ridge,
    choose_alpha,
    fit_ridge,
    total,
)
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import MAX_SHARE, RejectedReply, require_answer, safe

# No other names are taken: they come from sites and end up in the record.
OUTCOMES = ("connectivity", "age within site", "latents")
SLACK = 1e-6  # rounding of sums, relative
LARGEST = 1e100  # of a sum of squares; what is below cannot overflow when sites are added


class FederatedYardstick:
    """Adds up the sites' moments, then scores.

    Memory does not grow with the number of sites. The order in which sites are added shows in the
    last digits only.

    Parameters
    ----------
    folds, held_out_fold : int
        Of the study. The probes are fitted on the other folds.
    features, outcomes : mapping of str to int, optional
        Widths P by pool and Q by group of outcomes where the coordinator knows them. Of others
        the first site's width is binding.
    """

    def __init__(
        self,
        folds: int,
        held_out_fold: int,
        features: Mapping[str, int] | None = None,
        outcomes: Mapping[str, int] | None = None,
    ) -> None:
        self.folds, self.held_out_fold = folds, held_out_fold
        self._features, self._outcomes = dict(features or {}), dict(outcomes or {})
        self._sums: dict[Group, Moments] = {}

    def add(self, reply: Reply) -> None:
        """Add a site's moments; of a reply that is refused nothing is added.

        Raises
        ------
        RejectedReply
            And nothing else, whatever the reply is.
        """
        try:
            found = self._checked(reply)
        except RejectedReply:
            raise
        except Exception as error:  # the last line of defence against a site's bytes
            raise RejectedReply(
                f"expected moments as agreed, found some that raise {type(error).__name__}; "
                "check the site's version"
            ) from error
        for group, m in found.items():
            self._features[group.pool], self._outcomes[group.outcome] = m.xy.shape
            held = self._sums.get(group)
            self._sums[group] = m if held is None else held + m

    def rows(self, model: str) -> list[Row]:
        """Mean held-out R2 of each group of outcomes from each pool.

        R2 is 1 - error / error of the training people's mean, on the held-out fold; the penalty
        is chosen by leaving out one training fold at a time. A pool and group that fewer than two
        training folds or nobody held out know has no row.

        Parameters
        ----------
        model : str
            Name of the model in the rows.
        """
        rows = []
        for pool, outcome in sorted({group[:2] for group in self._sums}):
            folds = [self._sums.get(Group(pool, outcome, k)) for k in range(self.folds)]
            test = folds.pop(self.held_out_fold)
            train = [m for m in folds if m is not None and m.n]
            if test is not None and test.n and len(train) >= 2:
                r2 = float(held_out_fold_r2(train, test).mean())
                rows.append(Row(model, pool, outcome, r2, len(test.x_sum)))
        return rows

    def _checked(self, reply: Reply) -> dict[Group, Moments]:
        require_answer(reply, None)
        for name in reply.arrays:
            self._require_known(name)
        try:
            found = moments_from_arrays(reply.arrays)
        except ValueError as error:  # its text holds names that are known by now, and numbers
            raise RejectedReply(str(error)) from error
        if not found:
            raise RejectedReply("expected moments of at least one pool, found none")
        features, outcomes = dict(self._features), dict(self._outcomes)
        for group, m in found.items():
            p, q = m.xy.shape
            expected = features.setdefault(group.pool, p), outcomes.setdefault(group.outcome, q)
            if (p, q) != expected or not p * q:
                raise RejectedReply(
                    f"expected moments of {expected[0]} features and {expected[1]} outcomes for "
                    f"{group.pool} and {group.outcome}, found {p} and {q}; give all sites one "
                    "atlas and one kind of outcomes"
                )
            if m.n > MAX_SHARE or not possible(m):
                raise RejectedReply(
                    f"expected sums of products of {group.pool} and {group.outcome}, found some "
                    "that no people's data have; check the site's version"
                )
        return found

    def _require_known(self, name: str) -> None:
        words = name.split(".")
        known = ([PREFIX], POOLS, OUTCOMES, map(str, range(self.folds)), FIELDS)
        if len(words) != len(known) or not all(
            word in names for word, names in zip(words, known, strict=True)
        ):
            raise RejectedReply(
                f"expected arrays {PREFIX}.<pool>.<outcome>.<fold below {self.folds}>.<field>, "
                f"found '{safe(name)}'; check the site's version"
            )


def held_out_fold_r2(train: list[Moments], test: Moments) -> Float64:
    """R2 [Q] on one fold of a ridge fitted on the others, NaN for what does not vary there.

    Parameters
    ----------
    train : list of Moments
        Of at least two folds; the penalty of each outcome is chosen among them.
    test : Moments
    """
    everyone = total(train)
    error = fit_ridge(everyone, choose_alpha(train, ALPHAS)).squared_error(test)
    nothing = Ridge(np.zeros(test.xy.shape), everyone.y_sum / everyone.n)
    baseline = nothing.squared_error(test)
    varies = baseline > RESOLVED**2 * test.yy
    return 1 - np.where(varies, error, np.nan) / np.where(varies, baseline, 1)


def possible(m: Moments) -> bool:
    """Symmetry, and Cauchy and Schwarz for every pair of columns; zeros where nobody is."""
    x, y = np.diag(m.xx), m.yy
    if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) > (LARGEST if m.n else 0):
        return False
    a, b = np.sqrt(x), np.sqrt(y)  # before products, so that nothing overflows
    root = math.sqrt(m.n)
    room = 1 + SLACK
    return bool(
        (np.abs(m.xx - m.xx.T) <= SLACK * np.outer(a, a)).all()
        and (np.abs(m.xx) <= room * np.outer(a, a)).all()
        and (np.abs(m.xy) <= room * np.outer(a, b)).all()
        and (np.abs(m.x_sum) <= room * root * a).all()
        and (np.abs(m.y_sum) <= room * root * b).all()
    )
