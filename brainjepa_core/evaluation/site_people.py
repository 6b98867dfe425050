"""A site's people as the yardstick sees them: moments that add up over sites, and their own scores.

Shapes: n people, P features, Q outcomes, F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.measure import outcome_groups, pooled_features
from brainjepa_core.evaluation.other_half import LEAST_PEOPLE, People, other_half_r2
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import Group, Moments, are_enough, fold_moments
from brainjepa_core.sums.ridge import held_out_r2


@dataclass(frozen=True)
class SitePeople:
    """People of one site, since ages are taken less the site's mean.

    Attributes
    ----------
    features : dict of str to ndarray [n, P]
        By pool.
    outcomes : dict of str to ndarray [n, Q]
        By group; those that a person lacks are left out.
    folds : ndarray of int [n]
    count : int
        F; a fold of nobody gets moments of n = 0.
    """

    features: dict[str, Float64]
    outcomes: dict[str, Float64]
    folds: NDArray[np.int64]
    count: int

    @classmethod
    def of(
        cls, model: BrainModel, windows: Windows, components: Float64, folds: ArrayLike, count: int
    ) -> SitePeople:
        """Read people by a model.

        Parameters
        ----------
        model : BrainModel
            Its target encoder is what embeds.
        windows : Windows
        components : ndarray [R, C]
            Eigenvectors of the consensus connectivity.
        folds : array [n]
        count : int
        """
        return cls.read(model, windows, outcome_groups(windows, components), folds, count)

    @classmethod
    def read(
        cls,
        model: BrainModel,
        windows: Windows,
        outcomes: Mapping[str, Float64],
        folds: ArrayLike,
        count: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> SitePeople:
        """As `of`, of people whose outcomes are known already.

        Parameters
        ----------
        model, windows, folds, count
            As `of`.
        outcomes : mapping of str to ndarray [n, Q]
            As `measure.outcome_groups` gives them.
        progress : callable, optional
            As `yardstick.embed_people` calls it.
        """
        return cls(
            pooled_features(model, windows, range(windows.subjects), progress),
            {name: y for name, y in outcomes.items() if np.isfinite(y).all()},
            np.asarray(folds),
            count,
        )

    def pools_of_enough(self, a_feature: int) -> list[str]:
        """Pools whose moments may leave the site alone (`are_enough`)."""
        widths = {pool: x.shape[1] for pool, x in self.features.items()}
        return [p for p, width in widths.items() if are_enough(self.folds, width, a_feature)]

    def projected(self, most: int) -> SitePeople:
        """With at most so many features a pool."""
        return replace(self, features={p: projected(x, most) for p, x in self.features.items()})

    def moments(self, pools: Iterable[str] | None = None, fewest: int = 1) -> dict[Group, Moments]:
        """Moments of each pool, group of outcomes and fold.

        Parameters
        ----------
        pools : iterable of str, optional
            All by default.
        fewest : int
            Folds of fewer people are told as folds of nobody: sums of one are that one.
        """
        return {
            Group(pool, outcome, fold): m.told(fewest)
            for pool in (self.features if pools is None else pools)
            for outcome, y in self.outcomes.items()
            for fold, m in enumerate(fold_moments(self.features[pool], y, self.folds, self.count))
        }

    def scores(self) -> dict[tuple[str, str], float]:
        """Mean R2 of ridge probes of these people alone, by pool and group of outcomes.

        Everybody is tested by the probe that has not seen their fold. Nothing is known of people in
        fewer than three folds, nor (NaN) of an outcome that does not vary.
        """
        if len(np.unique(self.folds)) < 3 or not self.outcomes:
            return {}
        together = np.concatenate(list(self.outcomes.values()), axis=1)
        groups = np.repeat(list(self.outcomes), [y.shape[1] for y in self.outcomes.values()])
        found: dict[tuple[str, str], float] = {}
        for pool, x in self.features.items():
            r2 = held_out_r2(x, together, self.folds)
            found |= {(pool, name): float(r2[groups == name].mean()) for name in self.outcomes}
        return found


def other_half_of(
    model: BrainModel,
    windows: Windows,
    tested: NDArray[np.bool_],
    fewest: int,
    go_on: Callable[[], None] = lambda: None,
) -> float | None:
    """R2 of the other half of a scan from one window of the model, of a site's tested people.

    Directions and scales are those of the site's other people, as `other_half_r2` has them.

    Parameters
    ----------
    model : BrainModel
        In evaluation mode.
    windows : Windows
        As long as the model's; of one site.
    tested : ndarray of bool [n]
        Whom the model was not trained on.
    fewest : int
        Tested people with two halves that hold a window; nothing is known of fewer.
    go_on : callable
        Called before each window; what it raises ends the reading.

    Returns
    -------
    float or None
        None where people, or windows, are too few, or the tested people do not differ; and of a
        model that reads volumes, since halves are of series.
    """
    if model.settings.volumes is not None:
        return None
    sides = halves_of(windows, tested, fewest)
    if sides is None:
        return None
    reader = LatentReader(model)

    def connectome(window: NDArray[np.floating], known: NDArray[np.bool_]) -> Float64:
        go_on()
        return reader.of_window(window, known)

    r2 = other_half_r2(*sides, connectome, windows.settings.frames).r2
    return r2 if np.isfinite(r2) else None


def halves_of(
    windows: Windows, tested: NDArray[np.bool_], fewest: int
) -> tuple[People, People] | None:
    """People not tested and tested whose scans' halves hold a window; None where they are too few.

    Parameters
    ----------
    windows, tested, fewest
        As `other_half_of` takes them.
    """
    frames = windows.settings.frames
    others, judged = (
        People.of(windows, np.flatnonzero(side), frames) for side in (~tested, tested)
    )
    enough = len(others.halves) >= LEAST_PEOPLE and len(judged.halves) >= max(fewest, 1)
    return (others, judged) if enough else None


def projected(features: Float64, most: int) -> Float64:
    """Features [n, at most `most`]: where there are more, fixed random mixtures of them.

    All sites mix alike, since NumPy keeps the numbers of `RandomState` the same for good (NEP 19).
    """
    width = features.shape[1]
    if width <= most:
        return features
    mixing: Float64 = np.random.RandomState(0).standard_normal((width, most)) / np.sqrt(width)
    return features @ mixing
