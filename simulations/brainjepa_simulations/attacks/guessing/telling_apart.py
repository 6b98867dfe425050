"""How well a score tells those who took part from those who did not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

Scores = ArrayLike


def auc(took_part: Scores, others: Scores) -> float:
    """Chance that the score of one who took part is above that of another; ties count half.

    Parameters
    ----------
    took_part, others : array [n], array [m]
        Larger where somebody seems to have taken part.
    """
    one, other = np.asarray(took_part, np.float64), np.asarray(others, np.float64)
    ranks = rankdata(np.concatenate([one, other]))[: len(one)]
    return float((ranks.sum() - len(one) * (len(one) + 1) / 2) / (len(one) * len(other)))
