"""Alarm for ROI rows in another order than the reference's: an error that nothing else shows.

Ready-made volumetric Schaefer atlases come in 7-network order, the published Brain-JEPA
gradients are in 17-network order: 396 of 400 cortical rows would be assigned wrongly, silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.gradients.drift import canonical_correlations

# Three correlations among the five leading gradients of each basis. Neighbouring gradients swap
# between cohorts (their eigenvalues are close), so that three against three would raise false
# alarms in small cohorts: 0.67 to 0.95 for the right order.
LEADING = 5
TOP = 3
# Measured on a cohort of 55 patients with 400 cortical ROIs, in random groups of 5 to 40: right
# order 0.92 to 0.97, 7-network order 0.60 to 0.68, random order 0.09 to 0.18. On 312 subjects of
# twelve sites, mapped to the 450 ROIs from coarser ones: 0.82 and 0.57.
RIGHT = 0.80
WRONG = 0.70

Verdict = Literal["right order", "suspicious", "wrong order"]


@dataclass(frozen=True)
class OrderAlarm:
    """Whether a cohort's ROI rows appear to be in the reference's order.

    Attributes
    ----------
    score : float
        Mean of the top 3 canonical correlations, 0 to 1.
    verdict : {"right order", "suspicious", "wrong order"}
        At least 0.80; between; under 0.70.
    message : str
        The score and what to do, for a person.
    """

    score: float
    verdict: Verdict
    message: str


def order_alarm(own: ArrayLike, reference: ArrayLike) -> OrderAlarm:
    """Compare a cohort's own gradients with a reference over the same ROIs.

    The thresholds were measured with about 400 ROIs; with fewer than about 100, unrelated bases
    correlate by chance and the alarm may miss a wrong order. Wants 5 subjects or more. It is
    a help, not a proof: the identity of an ROI is its name.

    Parameters
    ----------
    own : array_like, shape (R, m_own)
        Gradients of the cohort, leading components first, in the row order to be checked.
    reference : array_like, shape (R, m_reference)
        Gradients whose order is known. Of both, the first 5 columns are used; at least 3.

    Returns
    -------
    OrderAlarm

    Raises
    ------
    ValueError
        If the bases differ in the number of ROIs, are not finite or have fewer than 3 columns.
    """
    own, reference = np.asarray(own, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    fewest = min(basis.shape[-1] if basis.ndim else 0 for basis in (own, reference))
    if fewest < TOP:
        raise ValueError(f"expected at least {TOP} gradients in both bases, found {fewest}")
    correlations = canonical_correlations(own[..., :LEADING], reference[..., :LEADING])
    score = float(correlations[:TOP].mean())
    if score >= RIGHT:
        return OrderAlarm(score, "right order", f"order score {score:.2f}: as expected")
    if score >= WRONG:
        return OrderAlarm(
            score,
            "suspicious",
            f"order score {score:.2f}, expected at least {RIGHT:.2f}: few subjects, heavy noise "
            "or partly wrong ROI rows; compare the ROI names with the atlas's",
        )
    return OrderAlarm(
        score,
        "wrong order",
        f"order score {score:.2f}, expected at least {RIGHT:.2f}: the ROI rows do not follow the "
        "reference's order; a common cause is Schaefer's 7-network order where 17-network order "
        "is meant; assign the rows by name",
    )
