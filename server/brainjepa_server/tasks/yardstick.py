"""How much of people the global model tells, from sums that the sites send, or from their scores.

Ridge regression needs people's embeddings and outcomes only as moments, and moments of sites add
up: the figures are those of one fit on all people pooled, and no embedding leaves a site. A site
with too few people for that sends scores of its own probes alone; where most sites do, the figures
are means of these.

Shapes: P features of a pool, Q outcomes of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.sums.moments import (
    OF_FEATURES,
    OF_OUTCOMES,
    PREFIX,
    Group,
    Moments,
    moments_from_arrays,
)
from brainjepa_core.sums.ridge import Ridge, explained, fit_and_mean
from brainjepa_core.wire.messages import OTHER_HALF, Reply, score_name, width_name
from brainjepa_core.wire.told_numbers import LOWEST_R2
from brainjepa_server.combining.magnitudes import Magnitude, oversized
from brainjepa_server.combining.validation import (
    Counts,
    RejectedReply,
    number,
    of_known_names,
    require_answer,
    require_told,
    safe,
)
from brainjepa_server.combining.waiting.replies import WaitingReplies
from brainjepa_server.record.history import YardstickRow

Kind = tuple[str, str]  # of moments: pool and outcomes
# No other names are taken: they come from sites and end up in the record.
OUTCOMES = ("connectivity", "age within site", "latents")
KINDS = (
    *((pool, outcome) for pool in POOLS for outcome in OUTCOMES),
    (LATENT_CONNECTIVITY, OTHER_HALF),  # of scores alone
)
WIDEST = 10**6  # features of a pool
TOO_FEW = (
    "told scores of its own probes alone, for want of people; the figures of all sites' people are "
    "without its own"
)


class Measured(NamedTuple):
    """What the sites' replies come to.

    Attributes
    ----------
    rows : list of YardstickRow
    left_out : dict of str to str
        Why a site is not in all of them, though its reply is possible by itself.
    """

    rows: list[YardstickRow]
    left_out: dict[str, str]


class FederatedYardstick(WaitingReplies):
    """Takes the sites' moments, then scores; a ``with`` block, after which nothing is on disk.

    Moments wait on disk until all are there: a site is judged beside the others, and scored by
    itself with the fit of all. Memory does not grow with the number of sites. The order in which
    sites are added shows in the last digits only.

    Parameters
    ----------
    folds, held_out_fold : int
        Of the study. The probes are fitted on the other folds.
    folder : Path, optional
        Where moments wait; the system's place by default.
    """

    def __init__(self, folds: int, held_out_fold: int, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.folds, self.held_out_fold = folds, held_out_fold
        self._features: dict[str, int] = {}  # P by pool and Q by outcomes, as of the first site
        self._outcomes: dict[str, int] = {}
        self._sizes: dict[Kind, dict[str, Magnitude]] = {}
        self._scores: dict[Kind, dict[str, float]] = {}

    def add(self, site: str, reply: Reply, counts: Counts | None = None) -> None:
        """Take a site's moments and scores; of a reply that is refused nothing is kept.

        Parameters
        ----------
        site : str
        reply : Reply
        counts : Counts, optional
            What the site told of when it joined.

        Raises
        ------
        RejectedReply
            And nothing else, whatever the reply is.
        """
        try:
            found = _by_kind(self._checked(reply))
            scores = _scores(reply)
            if not found and not scores:
                raise RejectedReply(
                    "expected moments or scores of at least one pool, found none; check the site's "
                    "version"
                )
            widths = self._widths(reply, scores)
            for folds in found.values():
                require_told(sum(m.people for m in folds.values()), counts)
        except RejectedReply:
            raise
        except Exception as error:  # the last line of defence against a site's bytes
            raise RejectedReply(
                f"expected moments as agreed, found some that raise {type(error).__name__}; "
                "check the site's version"
            ) from error
        self._keep(site, reply.arrays)
        self._features |= widths
        for kind, score in scores.items():
            self._scores.setdefault(kind, {})[site] = score
        for (pool, outcome), folds in found.items():
            m = next(iter(folds.values()))
            self._features[pool], self._outcomes[outcome] = m.xy.shape
            sizes = self._sizes.setdefault((pool, outcome), {})
            sizes[site] = Magnitude.of(folds.values())

    def measure(self, model: str) -> Measured:
        """Mean R2 of each group of outcomes from each pool.

        Where more than half of the sites that know a group sent moments, R2 is 1 - error / error of
        the training people's mean, on the held-out fold; the penalty is chosen by leaving out one
        training fold at a time. At a site it is 1 - error / error of the mean of the site's own
        held-out people. A pool and group that fewer than two training folds or nobody held out know
        has no such figure. Else it is the mean of the sites' scores of their own probes.

        Parameters
        ----------
        model : str
            Name of the model in the rows.
        """
        left_out: dict[str, str] = {}
        few: set[str] = set()
        for sizes in self._sizes.values():
            left_out |= oversized(sizes)
        kept = [site for site in self._files if site not in left_out]
        sums: dict[Group, Moments] = {}
        for site in kept:
            for group, m in moments_from_arrays(self._kept(site)).items():
                held = sums.get(group)
                sums[group] = m if held is None else held + m
        fits = {}
        for kind, by_fold in sorted(_by_kind(sums).items()):
            test = by_fold.pop(self.held_out_fold, None)
            train = [m for _, m in sorted(by_fold.items()) if m.n]
            if test is not None and test.n and len(train) >= 2:
                fits[kind] = (*fit_and_mean(train), test)
        at_sites: dict[Kind, dict[str, float]] = {kind: {} for kind in fits}
        for site in kept:
            told = moments_from_arrays(self._kept(site))
            for kind, (fit, _, _) in fits.items():
                own = told.get(Group(*kind, self.held_out_fold))
                if own is not None and own.n:
                    at_sites[kind][site] = _r2_at_site(fit, own)
        rows = []
        for kind in sorted({*fits, *self._scores}):
            scores = {s: r2 for s, r2 in self._scores.get(kind, {}).items() if s not in left_out}
            summed = {site for site in self._sizes.get(kind, {}) if site not in left_out}
            by_sums = kind in fits and 2 * len(summed) > len(summed | scores.keys())
            if by_sums:
                r2, at_each = _r2(*fits[kind]), at_sites[kind]
                few |= scores.keys() - summed
            elif scores:
                r2, at_each = mean(scores.values()), scores
            else:
                continue
            rows.append(self._row(model, kind, r2, at_each, own_probes=not by_sums))
        return Measured(rows, dict.fromkeys(sorted(few), TOO_FEW) | left_out)

    def _row(
        self, model: str, kind: Kind, r2: float, at_sites: dict[str, float], *, own_probes: bool
    ) -> YardstickRow:
        pool, outcome = kind
        return YardstickRow(
            model=model,
            pool=pool,
            outcome=outcome,
            r2=r2,
            at_sites=dict(sorted(at_sites.items())),
            features=self._features[pool],
            own_probes=own_probes,
        )

    def _checked(self, reply: Reply) -> dict[Group, Moments]:
        require_answer(reply, None)
        for name in reply.arrays:
            self._require_known(name)
        with of_known_names():
            found = moments_from_arrays(reply.arrays)
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
        words, folds = name.split("."), [str(fold) for fold in range(self.folds)]
        shared = ([PREFIX], POOLS, folds, OF_FEATURES)
        own = ([PREFIX], POOLS, folds, OUTCOMES, OF_OUTCOMES)
        if not any(
            len(words) == len(known)
            and all(word in names for word, names in zip(words, known, strict=True))
            for known in (shared, own)
        ):
            raise RejectedReply(
                f"expected arrays {PREFIX}.<pool>.<fold below {self.folds}>[.<outcome>].<field>, "
                f"found '{safe(name)}'; check the site's version"
            )

    def _widths(self, reply: Reply, scores: Mapping[Kind, float]) -> dict[str, int]:
        """Features of the pools of a reply's scores, as all sites have them."""
        found = {}
        for pool in dict.fromkeys(pool for pool, _ in scores):
            told = int(number(reply.metrics, width_name(pool), 1, WIDEST, whole=True))
            found[pool] = self._features.get(pool, told)
            if told != found[pool]:
                raise RejectedReply(
                    f"expected scores of {found[pool]} features for {pool}, found {told}; give all "
                    "sites one atlas"
                )
        return found


def _by_kind(moments: Mapping[Group, Moments]) -> dict[Kind, dict[int, Moments]]:
    """By pool and outcomes, then by fold."""
    found: dict[Kind, dict[int, Moments]] = {}
    for group, m in moments.items():
        found.setdefault((group.pool, group.outcome), {})[group.fold] = m
    return found


def _scores(reply: Reply) -> dict[Kind, float]:
    """R2 of the site's own probes, and of the other half, as far as it knows them."""
    return {
        kind: float(number(reply.metrics, score_name(*kind), LOWEST_R2, 1))
        for kind in KINDS
        if score_name(*kind) in reply.metrics
    }


def _r2(fit: Ridge, nothing: Ridge, m: Moments) -> float:
    """Mean over outcomes, on the people behind some moments."""
    return float(explained(fit.squared_error(m), nothing.squared_error(m), m.yy).mean())


def _r2_at_site(fit: Ridge, m: Moments) -> float:
    """Beside the mean of the same people: that of all people is bent by a site that lies."""
    spread = m.yy - m.y_sum**2 / m.n
    return float(explained(fit.squared_error(m), spread, m.yy).mean())
