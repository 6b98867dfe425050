"""How much of held-out people the global model tells, from sums that the sites send.

Ridge regression needs people's embeddings and outcomes only as moments, and moments of sites add
up: the figures are those of one fit on all people pooled, and no embedding leaves a site.

Shapes: P features of a pool, Q outcomes of a group.
"""

from __future__ import annotations

from brainjepa_core.evaluation.measure import YardstickScore
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.sums.moments import PREFIX, Group, Moments, moments_from_arrays
from brainjepa_core.sums.ridge import explained, held_out_errors
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import (
    Counts,
    RejectedReply,
    of_known_names,
    require_answer,
    require_told,
    safe,
)

# No other names are taken: they come from sites and end up in the record.
OUTCOMES = ("connectivity", "age within site", "latents")


class FederatedYardstick:
    """Adds up the sites' moments, then scores.

    Memory does not grow with the number of sites. The order in which sites are added shows in the
    last digits only.

    Parameters
    ----------
    folds, held_out_fold : int
        Of the study. The probes are fitted on the other folds.
    """

    def __init__(self, folds: int, held_out_fold: int) -> None:
        self.folds, self.held_out_fold = folds, held_out_fold
        self._features: dict[str, int] = {}  # P by pool and Q by outcomes, as of the first site
        self._outcomes: dict[str, int] = {}
        self._sums: dict[Group, Moments] = {}

    def add(self, reply: Reply, counts: Counts | None = None) -> None:
        """Add a site's moments; of a reply that is refused nothing is added.

        Parameters
        ----------
        reply : Reply
        counts : Counts, optional
            What the site told of when it joined.

        Raises
        ------
        RejectedReply
            And nothing else, whatever the reply is.
        """
        try:
            found = self._checked(reply)
            for pool, outcome in {group[:2] for group in found}:
                people = sum(m.people for g, m in found.items() if g[:2] == (pool, outcome))
                require_told(people, counts)
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

    def rows(self, model: str) -> list[YardstickScore]:
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
                r2 = float(explained(*held_out_errors(train, test), test.yy).mean())
                rows.append(YardstickScore(model, pool, outcome, r2, len(test.x_sum)))
        return rows

    def _checked(self, reply: Reply) -> dict[Group, Moments]:
        require_answer(reply, None)
        for name in reply.arrays:
            self._require_known(name)
        with of_known_names():
            found = moments_from_arrays(reply.arrays)
        if not found:
            raise RejectedReply("expected moments of at least one pool, found none")
        features, outcomes = dict(self._features), dict(self._outcomes)
        for group, m in found.items():
            p, q = m.xy.shape
            expected = features.setdefault(group.pool, p), outcomes.setdefault(group.outcome, q)
            if (p, q) != expected:
                raise RejectedReply(
                    f"expected moments of {expected[0]} features and {expected[1]} outcomes for "
                    f"{group.pool} and {group.outcome}, found {p} and {q}; give all sites one "
                    "atlas and one kind of outcomes"
                )
        return found

    def _require_known(self, name: str) -> None:
        words = name.split(".")
        known = ([PREFIX], POOLS, OUTCOMES, map(str, range(self.folds)), Moments.ADDED)
        if len(words) != len(known) or not all(
            word in names for word, names in zip(words, known, strict=True)
        ):
            raise RejectedReply(
                f"expected arrays {PREFIX}.<pool>.<outcome>.<fold below {self.folds}>.<field>, "
                f"found '{safe(name)}'; check the site's version"
            )
