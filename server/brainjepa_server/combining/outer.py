"""From the sites' mean weights to the next global ones, target encoder included.

The mean difference, ``mean - base``, is the pseudo-gradient of an outer optimiser. Everything is
computed in float64 and rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.models.roles import Roles
from brainjepa_server.settings import AggregationSettings, OuterSettings

Weights = dict[str, Float32]
State = dict[str, Float64]
Means = Mapping[str, Float64]

_SLOTS = {"fedavg": (), "fedavgm": ("momentum",), "fedadam": ("first", "second")}


class OuterOptimizer:
    """One step a round along the sites' mean difference d.

    ``fedavg``
        ``w + lr d``; with lr 1 the mean itself (McMahan et al., AISTATS 2017).
    ``fedavgm``
        SGD with Nesterov momentum as in DiLoCo (Douillard et al., arXiv 2311.08105), written as
        torch does: ``v = momentum v + d``, then ``w + lr (d + momentum v)``.
    ``fedadam``
        FedAdam (Reddi et al., ICLR 2021, algorithm 2) with Adam's bias correction, without which
        the first rounds step too far: ``w + lr m' / (sqrt(v') + epsilon)``.

    Parameters
    ----------
    settings : OuterSettings
    roles : Roles
        Of the model's arrays.

    Attributes
    ----------
    state : dict of str to ndarray of float64
        ``momentum.<name>``, or ``first.<name>`` and ``second.<name>``; empty before the first
        step. It is all that a checkpoint needs.
    """

    def __init__(self, settings: OuterSettings, roles: Roles) -> None:
        self.settings, self.roles = settings, roles
        self.state: State = {}

    def load(self, state: Mapping[str, NDArray[np.generic]], base: Weights) -> None:
        """Continue from a saved state.

        Raises
        ------
        ValueError
            If it is of another outer optimiser or another model.
        """
        names = [name for name in base if self.roles.is_trained(name)]
        expected = {f"{s}.{n}": base[n].shape for s in _SLOTS[self.settings.kind] for n in names}
        found = {name: value.shape for name, value in state.items()}
        if found and found != expected:
            wrong = sorted(
                k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)
            )
            raise ValueError(
                f"expected the {len(expected)} arrays of a {self.settings.kind} state, found "
                f"{len(wrong)} missing, unknown or of another shape ({', '.join(wrong[:3])}); "
                "continue with the study's saved settings"
            )
        self.state = {name: np.array(value, np.float64) for name, value in state.items()}

    def step(self, base: Weights, mean: Means, number: int) -> Weights:
        """New weights of the names in `mean`.

        Parameters
        ----------
        base : dict of str to ndarray of float32
            The round's global weights.
        mean : mapping of str to ndarray of float64
            The sites' combined weights.
        number : int
            Of the round, from 0.

        Returns
        -------
        dict of str to ndarray of float32
        """
        if self.settings.kind == "fedavg" and self.settings.lr == 1:
            # Not base + (mean - base): that would lose the last bits of the smallest weights.
            return {name: value.astype(np.float32) for name, value in mean.items()}
        new = {}
        for name, value in mean.items():
            old = base[name].astype(np.float64)
            new[name] = (old + self._move(name, value - old, number)).astype(np.float32)
        return new

    def _move(self, name: str, d: Float64, number: int) -> Float64:
        s = self.settings
        if s.kind == "fedavg":
            return s.lr * d
        if s.kind == "fedavgm":
            v = self._keep(f"momentum.{name}", s.momentum, d)
            return s.lr * (d + s.momentum * v)
        first = self._keep(f"first.{name}", s.momentum, (1 - s.momentum) * d)
        second = self._keep(f"second.{name}", s.beta2, (1 - s.beta2) * d * d)
        m = first / (1 - s.momentum ** (number + 1))
        v = second / (1 - s.beta2 ** (number + 1))
        return s.lr * m / (np.sqrt(v) + s.epsilon)

    def _keep(self, key: str, momentum: float, addend: Float64) -> Float64:
        """``state = momentum * state + addend``, in place."""
        held = self.state.setdefault(key, np.zeros(addend.shape))
        held *= momentum
        held += addend
        return held


def followers_on_line(
    base: Weights, trained: Weights, momenta: Sequence[float], roles: Roles
) -> Weights:
    """What follows the weights, after a round in which these went straight from old to new.

    The coordinator sees the weights at both ends of a round only. On the line between them
    encoder and target encoder, say, at step j of k are ``e_j = e_0 + j/k (e_k - e_0)`` and
    ``t_j = m_j t_(j-1) + (1 - m_j) e_j``; the sum of that recursion has two scalars, so one pass
    over the weights does. In a toy federation its error was 0.03 to 0.13 of the movement, where
    a single EMA step a round leaves the target nearly frozen (0.9).

    Parameters
    ----------
    base : dict of str to ndarray of float32
        The round's global weights, old followers among them.
    trained : dict of str to ndarray of float32
        The new weights.
    momenta : sequence of float
        The schedule's EMA momentum of each step of the round.
    roles : Roles

    Returns
    -------
    dict of str to ndarray of float32
        The new followers.
    """
    kept, moved = 1.0, 0.0  # share of the old target; of the encoder's movement
    for j, momentum in enumerate(momenta, 1):
        kept *= momentum
        moved = momentum * moved + (1 - momentum) * j / len(momenta)
    new = {}
    for name in base:
        if roles.is_follower(name):
            leader = roles.leader_of(name)
            target, old = base[name].astype(np.float64), base[leader].astype(np.float64)
            # Both shares multiply a difference, so what did not move stays the same to the bit.
            new[name] = (
                target + (1 - kept) * (old - target) + moved * (trained[leader].astype("f8") - old)
            ).astype(np.float32)
    return new


def next_weights(
    outer: OuterOptimizer,
    settings: AggregationSettings,
    base: Weights,
    mean: Means,
    number: int,
    momenta: Sequence[float],
) -> Weights:
    """All global weights of the next round.

    The sites' targets are averaged as they are only where that is exact, which by linearity is
    under plain averaging. After any other outer step, or where targets stay at the sites, the
    coordinator's own moves along the line.

    Parameters
    ----------
    outer : OuterOptimizer
        Its state moves on.
    settings : AggregationSettings
    base : dict of str to ndarray of float32
        The round's global weights; arrays that are not trained pass through.
    mean : mapping of str to ndarray of float64
        The sites' combined weights.
    number : int
        Of the round, from 0.
    momenta : sequence of float
        As `followers_on_line` takes them.

    Returns
    -------
    dict of str to ndarray of float32

    Raises
    ------
    ValueError
        If a new weight is not finite.
    """
    roles = outer.roles
    trained = {name: value for name, value in mean.items() if roles.is_trained(name)}
    new = outer.step(base, trained, number)
    plain = outer.settings.kind == "fedavg" and outer.settings.lr == 1
    if settings.target == "average" and plain:
        followers = {n: v.astype(np.float32) for n, v in mean.items() if roles.is_follower(n)}
    else:
        followers = followers_on_line(base, new, momenta, roles)
    for name, value in (new | followers).items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"expected finite weights after round {number}, found NaN or infinity in "
                f"'{name}'; lower aggregation.outer.lr or max_norm and continue from the last round"
            )
    return {**base, **new, **followers}
