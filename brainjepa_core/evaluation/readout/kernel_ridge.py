"""Kernel ridge regression whose penalty is chosen by leaving one person out, in closed form.

Features outnumber people a hundred times, so all is done in the products of people [n, n]; several
read-outs are heard by the sum of their kernels, each of the same weight.

Shapes: n people, t training people, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orth

from brainjepa_core.arrays import Float64

Index = NDArray[np.int64]

PENALTIES = 10.0 ** np.linspace(-4, -1, 7)  # times a training person's mean square of features
# Larger ones are noise: of three sets of four ABIDE hospitals, told by the other eight, no read-out
# does better by one above 0.1, of few labels or of all, and with few labels leaving one out takes
# one too often: AUC of connectivity by 50 labels .563 with penalties up to 100, .608 by 0.01.
AT_ONCE = 4096  # features whose products are summed together
RESOLVED = 1e-9  # share of the largest eigenvalue below which a direction was taken out


def linear_kernel(features: NDArray[np.floating], training: Index) -> Float64:
    """Products of people's features, with a mean square of 1 over the training people.

    Parameters
    ----------
    features : ndarray [n, P]
        Finite and centred.
    training : ndarray of int64 [t]

    Returns
    -------
    ndarray of float64 [n, n]
        Of features that are all 0, zeros.
    """
    products = np.zeros((len(features), len(features)))
    for first in range(0, features.shape[1], AT_ONCE):
        # Rounded as float32 has it, a mean that was taken out would come back as a direction.
        part = features[:, first : first + AT_ONCE].astype(np.float64)
        products += part @ part.T
    scale = products[training, training].mean()
    found: Float64 = products / scale if scale > 0 else products
    return found


def centred_kernel(kernel: Float64, training: int) -> Float64:
    """A kernel [n, n] of features less their mean over the first people, who train."""
    mean = kernel[:training].mean(0)
    found: Float64 = kernel - mean[None] - mean[:, None] + mean[:training].mean()
    return found


def sum_of_kernels(kernels: Sequence[Float64]) -> Float64:
    """Mean of kernels [n, n]: what joining their features side by side gives."""
    found: Float64 = np.mean(kernels, axis=0)
    return found


def ridge_fit(
    kernel: Float64,
    targets: Float64,
    beside: NDArray[np.floating],
    penalties: NDArray[np.floating] = PENALTIES,
) -> tuple[Float64, Float64]:
    """Ridge regression on training people, by the penalty that is best for those left out.

    Parameters
    ----------
    kernel : ndarray [t, t]
        Of features from which the means of training groups have been taken.
    targets : ndarray [t, Q]
        Less the means of the same groups.
    beside : ndarray [t, C]
        What may have been taken out of the features (`centring.levels_of`): of its directions,
        those that the kernel lacks are fitted without a penalty, and who is left out is left out
        of them too.
    penalties : ndarray
        The one with the least squared error of people left out, over all outcomes, is taken.

    Returns
    -------
    (ndarray of float64 [t, Q], ndarray of float64 [t, Q])
        Dual weights (features' weights are their sum over people), and what each person is
        predicted by the others. Zeros where the people do not differ in their features.
    """
    values, vectors = np.linalg.eigh(kernel)
    resolved = RESOLVED * values[-1]
    kept = values > resolved
    if not kept.any():
        return np.zeros(targets.shape), np.zeros(targets.shape)
    values, vectors = values[kept], vectors[:, kept]
    along, taken = vectors.T @ targets, _taken_out(kernel, beside, resolved)
    # Where features are fewer than people, there are directions that nothing can fit.
    beyond = targets - vectors @ along - taken @ (taken.T @ targets)
    free = np.maximum(1 - (vectors**2).sum(1) - (taken**2).sum(1), 0)
    fits = []
    for penalty in penalties:
        left = penalty / (values + penalty)
        missed = vectors @ (left[:, None] * along) + beyond
        fits.append(missed / ((vectors**2) @ left + free)[:, None])
    best = int(np.argmin([float((error**2).sum()) for error in fits]))
    return vectors @ (along / (values + penalties[best])[:, None]), targets - fits[best]


def ridge_predictions(
    kernel: Float64,
    targets: Float64,
    training: Index,
    beside: NDArray[np.floating],
    penalties: NDArray[np.floating] = PENALTIES,
) -> Float64:
    """Predict everybody by `ridge_fit` on the training people.

    Parameters
    ----------
    kernel : ndarray [n, n]
    targets : ndarray [t, Q]
        Of the training people.
    training : ndarray of int64 [t]
    beside : ndarray [t, C]
    penalties : ndarray

    Returns
    -------
    ndarray of float64 [n, Q]
    """
    weights, _ = ridge_fit(kernel[np.ix_(training, training)], targets, beside, penalties)
    found: Float64 = kernel[:, training] @ weights
    return found


def _taken_out(kernel: Float64, beside: NDArray[np.floating], resolved: float) -> Float64:
    """Orthonormal directions [t, k] of `beside` in which the kernel's people do not differ."""
    basis = orth(np.asarray(beside, np.float64))
    values, vectors = np.linalg.eigh(basis.T @ kernel @ basis)
    found: Float64 = basis @ vectors[:, values <= resolved]
    return found
