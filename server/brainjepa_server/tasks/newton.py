"""A logistic probe of all sites, by rounds of gradients held against what sites told before.

A site's moments bound what its loss, gradient and Hessian can be, and its loss at one place bounds
what its gradient at another can have been. Who tells what cannot be is left out, and the fit begins
anew without them.

Shapes: F folds, P features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.common_probe import CrossFit
from brainjepa_core.sums.logistic import LogisticSums, Newton, require_convex, require_of_people
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import total
from brainjepa_core.sums.ridge import predicted_moments
from brainjepa_server.combining.validation import RejectedReply, of_known_names, require_told
from brainjepa_server.tasks.asking import Asking, newton_arrays
from brainjepa_server.tasks.replies import checked_gradients
from brainjepa_server.tasks.settings import NEWTON_ROUNDS


def newton_probe(
    asking: Asking, told: Mapping[str, list[Moments]], pool: str, penalty: float
) -> CrossFit | None:
    """Logistic fits of the sites that stay to the end; None where they do not come about.

    Parameters
    ----------
    asking : Asking
        Of one pool.
    told : mapping of str to list of Moments
        Of each fold, by site; asked for one site after the other, since all may not fit in memory.
    pool : str
    penalty : float
    """
    sites = sorted(told)
    steps = iter(range(NEWTON_ROUNDS))  # of all beginnings together: sites answer no more
    what = f"logistic probe of all sites ({pool})"
    while sites:
        fitting = _Fitting(asking, told, sites, pool, penalty)
        for _ in steps:
            lost = fitting.step(what)
            if lost:
                break
            if fitting.done:
                return fitting.fit()
        else:
            if fitting.near:
                return fitting.fit()
            reason = f"expected an end within {NEWTON_ROUNDS} steps, found none"
            asking.leave_out(what, "all", reason)
            return None
        sites = [site for site in sites if site not in lost]
    asking.leave_out(what, "all", "expected sites to the end, found none that stayed")
    return None


class _Fitting:
    """F + 1 fits on their way: without the people of each fold, and of everybody."""

    def __init__(
        self,
        asking: Asking,
        told: Mapping[str, list[Moments]],
        sites: list[str],
        pool: str,
        penalty: float,
    ) -> None:
        self._asking, self._pool, self._sites = asking, pool, sites
        count = len(told[sites[0]])
        self._folds = [total(told[site][k] for site in sites) for k in range(count)]
        self._fits = [Newton.start(rest, penalty) for rest in _without_each(self._folds)]
        self._squares = {
            site: [
                fit.squares(rest)
                for fit, rest in zip(self._fits, _without_each(told[site]), strict=True)
            ]
            for site in sites
        }
        self._before: dict[str, list[tuple[LogisticSums, Float64]]] = {}

    @property
    def done(self) -> bool:
        return all(fit.done for fit in self._fits)

    @property
    def near(self) -> bool:
        return all(fit.near for fit in self._fits)

    def step(self, what: str) -> set[str]:
        """Ask all sites, and move on if all of them answered as they can; else who did not."""
        sums: list[LogisticSums] | None = None
        lost = set(self._sites)
        arrays = newton_arrays(self._pool, self._fits)
        for answer in self._asking.ask("newton", self._sites, arrays):
            try:
                width = len(self._fits[0].trial)
                found = checked_gradients(answer.reply, self._pool, len(self._fits), width)
                require_told(max(s.people for s in found), answer.counts)
                with of_known_names():
                    self._require_own(answer.site, found)
            except RejectedReply as error:
                self._asking.leave_out(what, answer.site, error)
                continue
            lost.remove(answer.site)
            sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
        if sums is not None and not lost:
            pairs = zip(self._fits, sums, strict=True)
            self._fits = [fit if fit.done else fit.advance(s) for fit, s in pairs]
        return lost

    def _require_own(self, site: str, found: list[LogisticSums]) -> None:
        """Hold a site's sums against its moments, and against its sums of the round before."""
        for fit, sums, squares in zip(self._fits, found, self._squares[site], strict=True):
            require_of_people(sums, squares, fit.trial)
        for fit, sums, before in zip(self._fits, found, self._before.get(site, ()), strict=False):
            require_convex(*before, sums, fit.trial)
        nothing = np.zeros((0, 0))  # of Hessians nothing is looked at later
        self._before[site] = [
            (replace(sums, hessian=nothing), fit.trial)
            for fit, sums in zip(self._fits, found, strict=True)
        ]

    def fit(self) -> CrossFit:
        """The fits at the best weights found."""
        *probes, final = (fit.probe() for fit in self._fits)
        pairs = zip(probes, self._folds, strict=True)
        predicted = total(predicted_moments(probe, fold) for probe, fold in pairs)
        return CrossFit(tuple(probes), final, predicted, {})


def _without_each(folds: list[Moments]) -> list[Moments]:
    """Moments without those of each fold, and of all of them."""
    left_out = range(len(folds) + 1)  # nobody's fold is the last
    return [total(m for j, m in enumerate(folds) if j != k) for k in left_out]
