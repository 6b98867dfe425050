"""Ridge regression from sums: what a pooled fit needs is the sum of what each site can compute.

Shapes: n people, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import total

ALPHAS = tuple(float(a) for a in 10.0 ** np.arange(-2, 6))
# Spread below which sums of squares hold rounding only: the square of this against a mean of 1
# is some thousand times the precision of float64.
RESOLVED = 1e-6


@dataclass(frozen=True)
class Ridge:
    """A fitted linear model: ``outcomes = features @ weights + intercept``."""

    weights: Float64
    intercept: Float64

    def predict(self, features: ArrayLike) -> Float64:
        """Predict outcomes [n, Q] from features [n, P]."""
        return np.asarray(features, np.float64) @ self.weights + self.intercept

    def squared_error(self, m: Moments) -> Float64:
        """Sum of squared errors [Q] on the people behind `m`, without seeing them.

        Rounding of sums does not make it negative: no R2 is above 1.
        """
        w, b = self.weights, self.intercept
        quadratic = (w * (m.xx @ w)).sum(0)
        linear = 2 * b * (w.T @ m.x_sum if w.size else 0) + m.n * b * b
        found: Float64 = m.yy - 2 * (w * m.xy).sum(0) - 2 * b * m.y_sum + quadratic + linear
        return found.clip(min=0)


def fit_ridge(m: Moments, alpha: float | Float64) -> Ridge:
    """Ridge on standardised features (mean and spread of the people behind `m`).

    Parameters
    ----------
    m : Moments
    alpha : float or ndarray [Q]
        Penalty on standardised weights, in units of people; above 0.
    """
    return fit_ridges(m, [alpha])[0]


def fit_ridges(m: Moments, alphas: Sequence[float | Float64]) -> list[Ridge]:
    """`fit_ridge` for several penalties, from one decomposition."""
    mean, centre = m.x_sum / m.n, m.y_sum / m.n
    covariance = m.xx - m.n * np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(covariance) / m.n, 0))
    # A feature that does not vary gets weight zero rather than a division by rounding.
    varies = spread > RESOLVED * np.abs(mean)
    scale = np.where(varies, 1 / np.where(varies, spread, 1), 0.0)
    standard = covariance * np.outer(scale, scale)
    product = (m.xy - m.n * np.outer(mean, centre)) * scale[:, None]
    values, vectors = np.linalg.eigh(standard)
    turned = vectors.T @ product
    fitted = []
    for alpha in alphas:
        shrunk = 1 / (np.maximum(values, 0)[:, None] + np.broadcast_to(alpha, len(centre)))
        weights = scale[:, None] * (vectors @ (shrunk * turned))
        fitted.append(Ridge(weights, centre - mean @ weights))
    return fitted


def choose_alpha(folds: Sequence[Moments], alphas: Sequence[float] = ALPHAS) -> Float64:
    """Penalty of each outcome [Q] with the least error on left-out folds."""
    errors = np.zeros((len(alphas), len(folds[0].yy)))
    for left_out, fold in enumerate(folds):
        rest = total(f for i, f in enumerate(folds) if i != left_out)
        errors += [fitted.squared_error(fold) for fitted in fit_ridges(rest, alphas)]
    found: Float64 = np.asarray(alphas)[np.argmin(errors, axis=0)]
    return found


def fit_folds(folds: Sequence[Moments], alphas: Sequence[float] = ALPHAS) -> Ridge:
    """Ridge on the people of all folds, each penalty chosen by leaving out one fold at a time."""
    return fit_ridge(total(folds), choose_alpha(folds, alphas))


def fit_and_mean(train: Sequence[Moments], alphas: Sequence[float] = ALPHAS) -> tuple[Ridge, Ridge]:
    """`fit_folds`, and what knows nothing but the mean of the same people."""
    everyone = total(train)
    nothing = Ridge(np.zeros_like(everyone.xy), everyone.y_sum / everyone.n)
    return fit_folds(train, alphas), nothing


def explained(error: Float64, baseline: Float64, squares: Float64) -> Float64:
    """R2 [Q], 1 - error / baseline; NaN for what does not vary beside its sum of squares."""
    varies = baseline > RESOLVED**2 * squares
    return 1 - np.where(varies, error, np.nan) / np.where(varies, baseline, 1)


def predicted_moments(probe: Ridge, m: Moments) -> Moments:
    """Moments of predictions [n, Q] in place of the features, without seeing people."""
    w, b = probe.weights, probe.intercept
    linear = w.T @ m.x_sum
    squares = w.T @ m.xx @ w + np.outer(linear, b) + np.outer(b, linear) + m.n * np.outer(b, b)
    return Moments(
        m.n,
        linear + m.n * b,
        m.y_sum,
        squares,
        w.T @ m.xy + np.outer(b, m.y_sum),
        m.yy,
    )


def held_out_r2(
    features: ArrayLike, outcomes: ArrayLike, folds: ArrayLike, alphas: Sequence[float] = ALPHAS
) -> Float64:
    """Cross-validated R2 of each outcome; penalties are chosen inside the training folds.

    Parameters
    ----------
    features : array [n, P]
    outcomes : array [n, Q]
    folds : array [n]
        Fold number of each person; at least three folds.
    alphas : sequence of float

    Returns
    -------
    ndarray [Q]
        1 - error / error of the training folds' mean: 0 is knowing nothing, below 0 is worse;
        NaN for an outcome that is the same for everybody.

    Raises
    ------
    ValueError
        If there are fewer than three folds, or `Moments.of` refuses the data.
    """
    x, y, where = np.asarray(features), np.asarray(outcomes), np.asarray(folds)
    groups = [Moments.of(x[where == k], y[where == k]) for k in np.unique(where)]
    if len(groups) < 3:
        raise ValueError(f"expected at least 3 folds, found {len(groups)}; use 5")
    error, baseline = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for left_out, fold in enumerate(groups):
        rest = [g for i, g in enumerate(groups) if i != left_out]
        fit, nothing = fit_and_mean(rest, alphas)
        error += fit.squared_error(fold)
        baseline += nothing.squared_error(fold)
    return explained(error, baseline, total(groups).yy)
