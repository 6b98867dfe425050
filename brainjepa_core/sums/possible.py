"""Whether anybody's data can have some sums of products.

Sums of products of columns are a Gram matrix: whatever the people, no weighting of the columns has
a negative sum of squares. That a matrix obeys Cauchy and Schwarz pair by pair is not enough: it may
still promise a fit better than perfect.

Shapes: P columns, Q more columns.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.protocol import ROUNDING


def are_products(among: Float64, squares: Float64, products: Float64) -> bool:
    """Whether P columns, and any one of Q more, can have these sums of products.

    With P columns G, one more of square y and products v with them is possible where
    ``[[G, v], [v', y]]`` has no negative eigenvalue: where G has none, and Schur's complement
    ``y - v' inv(G) v``, the square of what no fit explains, is not negative either. Columns are
    brought to length 1 and `ROUNDING` is added to the diagonal, which lets all pass that differs
    from a Gram matrix by less than that; fewer people than columns are no trouble.

    Parameters
    ----------
    among : ndarray [P, P]
        Sums of products of the P columns with one another.
    squares : ndarray [Q]
        Sums of squares of the Q columns.
    products : ndarray [P, Q]
        Sums of products of the two.
    """
    squared = np.diag(among)
    if squared.min(initial=0) < 0 or squares.min(initial=0) < 0:
        return False
    a, b = np.sqrt(squared), np.sqrt(squares)  # before products, so that nothing overflows
    room = 1 + ROUNDING
    if not (
        (np.abs(among - among.T) <= ROUNDING * np.outer(a, a)).all()
        and (np.abs(among) <= room * np.outer(a, a)).all()
        and (np.abs(products) <= room * np.outer(a, b)).all()
    ):
        return False
    x, y = (np.divide(1, c, out=np.zeros_like(c), where=c > 0) for c in (a, b))
    whole = (among * x) * x[:, None]
    np.fill_diagonal(whole, 1 + ROUNDING)
    try:
        lower = cholesky(whole, lower=True)
    except np.linalg.LinAlgError:
        return False
    explained = solve_triangular(lower, (products * y) * x[:, None], lower=True)
    return bool(((explained**2).sum(0) <= 1 + ROUNDING).all())
