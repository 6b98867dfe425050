"""A train reply as a vector of a secure sum: bounds that follow from what all sites approved.

An update, the share that it counts by and the round's mean loss become integers; no number of it
leaves beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.pretraining.schedules import learning_rate
from brainjepa_core.secure_sums.encoding.fixed_point import FixedPoint, OutOfRange
from brainjepa_core.secure_sums.encoding.updates import SHARE, UpdateCode
from brainjepa_core.secure_sums.masks import KeyStream
from brainjepa_core.wire.messages import Assignment

LOSS = "loss"
LARGEST_LOSS = 64.0  # a larger one counts as this
# A weight's largest change, in sums of the round's learning rates: with AdamW's usual betas most
# move by less than one.
REACH = 4.0
_ROUNDED = 1e-3  # by which rounding to integers may lengthen a mean


@dataclass(frozen=True)
class TrainCode:
    """How a round's replies become integers, and their sum numbers again.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Of the arrays that a reply holds.
    update : UpdateCode
    """

    shapes: Mapping[str, tuple[int, ...]]
    update: UpdateCode

    @classmethod
    def of(
        cls, assignment: Assignment, shapes: Mapping[str, tuple[int, ...]], sites: int
    ) -> TrainCode:
        """That of a round with `sites` in the roster of a sum.

        Raises
        ------
        ValueError
            If the study has no secure sums.
        """
        if assignment.protect is None:
            raise ValueError("expected a study with protect: secure_sum, found one without it")
        bounds = assignment.protect.secure_sum
        schedule = assignment.pretraining.training.schedule
        steps = range(assignment.first_step, assignment.first_step + assignment.steps)
        moved = math.fsum(learning_rate(schedule, step) for step in steps) or schedule.lr
        weights = sum(math.prod(shape) for shape in shapes.values())
        most = 1 if assignment.share == "equal" else bounds.largest_share
        norm = bounds.clip * moved * math.sqrt(weights)
        return cls(dict(shapes), UpdateCode(norm, REACH * moved, sites, most))

    @property
    def layout(self) -> dict[str, tuple[type[np.uint32], tuple[int, ...]]]:
        """Dtype and shape of each array of a vector."""
        whole = {**self.shapes, SHARE: (1,), LOSS: (1,)}
        return {name: (np.uint32, shape) for name, shape in whole.items()}

    @property
    def _losses(self) -> FixedPoint:
        return FixedPoint(LARGEST_LOSS, self.update.points.weights, np.uint32)

    def encode(
        self, update: Mapping[str, Float32], share: float, loss: float, rounding: bytes
    ) -> Arrays:
        """A site's vector.

        Parameters
        ----------
        update : mapping of str to ndarray of float32
            Differences from the round's global weights.
        share : float
            What the site would count by; it counts by no more than the largest share.
        loss : float
        rounding : bytes
            `SumSite.rounding`.

        Raises
        ------
        ValueError
            If a number is not finite.
        """
        counted = min(max(int(share), 1), self.update.most)
        drawn = KeyStream(rounding, len(update))
        told = np.array([loss])
        return {
            **self.update.encode(update, counted, rounding),
            LOSS: self._losses.encode(told, drawn, weight=counted, clip=True),
        }

    def decode(self, total: Arrays, alive: int) -> SummedUpdate:
        """What the sum of `alive` sites' vectors tells; `total` is used up.

        Raises
        ------
        OutOfRange
            If no sites that follow the protocol have such a sum.
        """
        losses = total.pop(LOSS)
        shares = self.update.shares(total, alive)
        loss = float(self._losses.decode(losses, shares)[0]) / shares
        total.pop(SHARE)
        found = SummedUpdate(self.update, total, shares, loss)
        if found.norm > self.update.norm * (1 + _ROUNDED):
            raise OutOfRange(
                f"expected a mean update of norm at most {self.update.norm:.6g}, to which each "
                f"site shortens its own, found {found.norm:.6g}: a site sent what it must not; "
                "drop the round"
            )
        return found


class SummedUpdate:
    """The mean of the sites' updates, an array at a time.

    Parameters
    ----------
    code : UpdateCode
    total : dict of str to ndarray of uint32
    shares : int
        In all.
    loss : float
        Mean over the sites, by their shares.
    """

    def __init__(
        self, code: UpdateCode, total: dict[str, NDArray[np.uint32]], shares: int, loss: float
    ) -> None:
        self._code, self._total = code, total
        self.shares, self.loss = shares, loss
        squares = (np.square(self.mean(name)).sum() for name in sorted(total))
        self.norm = math.sqrt(math.fsum(map(float, squares)))

    @property
    def names(self) -> list[str]:
        """Of the arrays that are left."""
        return sorted(self._total)

    def mean(self, name: str) -> Float64:
        """Mean float64 of one array of the updates, by the sites' shares."""
        return self._code.mean(self._total[name], self.shares)

    def take(self, name: str) -> Float64:
        """`mean`, once: the array's sum goes."""
        mean = self.mean(name)
        del self._total[name]
        return mean
