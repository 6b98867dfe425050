"""What private steps cost: epsilon at a delta, over all that was ever released about somebody.

Costs of many releases add up by the privacy loss' distribution (PRV; Gopi et al., NeurIPS 2021, in
Opacus), not by summing epsilons, which tells far too much. Rényi's bound (Mironov et al., 2019) is
told where that distribution cannot be computed: it is never smaller.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydantic import Field

from brainjepa_core.extras import require
from brainjepa_core.settings import Frozen

DELTA = 1e-5  # of a site that says nothing else
LARGE = 300.0  # an epsilon above which its exact value matters to nobody
ERROR = 0.002  # of epsilon, relative, that rounding of the distribution may add
FINEST = 1e-5  # the same, absolute
CLOSE = 3e-4  # to a noise that is sought, relative
LEAST_NOISE, MOST_NOISE = 0.3, 1e6  # that are considered
ORDERS = (1.25, 1.5, 1.75, *range(2, 65), 80, 128, 256, 512, 1024)  # of Rényi's divergence
History = tuple[tuple[float, float, int], ...]


class Release(Frozen):
    """Noised sums over people, some times over: the Gaussian mechanism, with Poisson sampling.

    Attributes
    ----------
    noise : float
        Standard deviation of the noise over the largest norm of one person's part.
    rate : float
        Probability of a person to be in one sum; 1 is a sum over everybody.
    times : int
        How many such sums: steps, for training.
    honest_sites : int
        How many sites share that noise. One of them alone adds ``noise / sqrt(honest_sites)``.
    """

    noise: float = Field(gt=0)
    rate: float = Field(1.0, gt=0, le=1)
    times: int = Field(1, ge=1)
    honest_sites: int = Field(1, ge=1)

    @property
    def alone(self) -> Release:
        """The same as it protects where nobody else adds noise."""
        noise = self.noise / math.sqrt(self.honest_sites)
        return self.model_copy(update={"noise": noise, "honest_sites": 1})


def epsilon_of(releases: Iterable[Release], delta: float) -> float:
    """Epsilon of all of some releases together; 0 of none.

    Parameters
    ----------
    releases : iterable of Release
    delta : float
        Probability with which more may be told; see `require_delta`.

    Returns
    -------
    float
        An upper bound, within half a percent of the exact value up to `LARGE`, Rényi's above.
    """
    history = _history(releases)
    return _epsilon(history, delta) if history else 0.0


def _history(releases: Iterable[Release]) -> History:
    """Releases as accountants keep them: noise, rate and how many times."""
    steps: Counter[tuple[float, float]] = Counter()
    for release in releases:
        steps[release.noise, release.rate] += release.times
    return tuple((noise, rate, times) for (noise, rate), times in sorted(steps.items()))


@lru_cache(maxsize=256)  # a study's cost is asked for before, between and after its rounds
def _epsilon(history: History, delta: float) -> float:
    bound = _renyi(history, delta)
    return bound if bound > LARGE else min(bound, _distribution(history, delta, bound))


def _renyi(history: History, delta: float) -> float:
    """Rényi's bound; at a few orders, which is enough to know how far a distribution reaches."""
    require("opacus")
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    losses = [
        compute_rdp(q=rate, noise_multiplier=noise, steps=times, orders=ORDERS)
        for noise, rate, times in history
    ]
    with warnings.catch_warnings():  # that the best order is the first or last it tries
        warnings.simplefilter("ignore")
        epsilon, _ = get_privacy_spent(orders=ORDERS, rdp=sum(losses), delta=delta)
    return float(epsilon)


def _distribution(history: History, delta: float, bound: float) -> float:
    """Epsilon by the distribution of the privacy loss; infinity where it cannot be computed."""
    found, error = math.inf, max(FINEST, ERROR * bound)
    while True:
        try:
            found = min(found, _upper(history, delta, error))
        except (RuntimeError, ValueError):  # Opacus' own checks of rounding
            return found
        # Rényi's bound may be several times too large, and with it the error that was allowed.
        if error <= max(FINEST, 2 * ERROR * found):
            return found
        error = max(FINEST, ERROR * found)


def _upper(history: History, delta: float, error: float) -> float:
    """Upper bound of epsilon with an error of `error` in epsilon and a thousandth in delta.

    As `opacus.accountants.PRVAccountant` does it, but for the orders of Rényi's bound, of which
    its hundred take ten times as long as all the rest.
    """
    import numpy as np
    from opacus.accountants.analysis import prv

    unsure = delta / 1000
    total = sum(times for *_, times in history)
    reach = max(
        _renyi(history, unsure / 4),
        *(_renyi(((noise, rate, 1),), unsure / (8 * total)) for noise, rate, _ in history),
        error,
    )
    mesh = error / math.sqrt(total * math.log(12 / unsure) / 2)
    domain = prv.Domain.create_aligned(-reach - 3, reach + 3, mesh)
    with np.errstate(all="ignore"), warnings.catch_warnings():  # log(1 - rate) of a rate of 1
        warnings.simplefilter("ignore")
        parts = [
            prv.TruncatedPrivacyRandomVariable(
                prv.PoissonSubsampledGaussianPRV(rate, noise), domain.t_min, domain.t_max
            )
            for noise, rate, _ in history
        ]
        whole = prv.compose_heterogeneous(
            [prv.discretize(part, domain) for part in parts], [times for *_, times in history]
        )
        return float(whole.compute_epsilon(delta, unsure, error)[2])


def noise_for(
    epsilon: float, delta: float, rate: float, times: int, spent: Sequence[Release] = ()
) -> float:
    """The least noise with which some steps cost at most an epsilon, rounded up to four digits.

    Parameters
    ----------
    epsilon, delta : float
    rate : float
    times : int
        As in `Release`.
    spent : sequence of Release
        What was released before, which counts too.

    Raises
    ------
    ValueError
        If epsilon is not positive, or no noise is enough after what was spent.
    """
    if epsilon <= 0:
        raise ValueError(f"expected an epsilon above 0, found {epsilon:g}; choose a larger one")

    from scipy.optimize import brentq

    def too_much(log_noise: float) -> float:
        release = Release(noise=math.exp(log_noise), rate=rate, times=times)
        return math.log(epsilon_of([*spent, release], delta) / epsilon)

    low = high = 0.0
    while too_much(high) > 0:
        low, high = high, high + math.log(2)
        if high > math.log(MOST_NOISE):
            raise ValueError(
                f"expected room within epsilon {epsilon:g} (delta {delta:g}), found it spent; "
                "choose a larger epsilon"
            )
    while low == high or too_much(low) <= 0:
        low -= math.log(2)
        if low < math.log(LEAST_NOISE):
            return LEAST_NOISE
    found = math.exp(brentq(too_much, low, high, xtol=CLOSE))
    step = 10.0 ** (math.floor(math.log10(found)) - 3)  # four digits
    noise = math.ceil(found / step) * step
    while too_much(math.log(noise)) > 0:  # the search ends a little to either side
        noise += step
    return float(f"{noise:.4g}")


def require_delta(delta: float, public_people: int) -> None:
    """Refuse a delta under which releasing one person in the clear could count as private.

    Parameters
    ----------
    delta : float
    public_people : int
        The site's number of people as it is told, rounded down.

    Raises
    ------
    ValueError
    """
    most = 1 / (10 * max(public_people, 1))
    if not 0 < delta <= most:
        raise ValueError(
            f"expected a delta above 0 and of at most {most:.3g}, a tenth of a person in "
            f"{max(public_people, 1)}, found {delta:g}; lower delta"
        )
