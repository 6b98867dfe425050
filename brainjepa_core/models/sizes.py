"""Networks of a model by their sizes: what a step's memory is estimated from.

Shapes: D width, L depth, r inner layer over D, N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

USUAL_RATIO = 4.0


class NetworkSize(NamedTuple):
    """Blocks of attention that a step runs.

    Attributes
    ----------
    width, depth : int
        D and L.
    ratio : float
        r.
    tokens : int
        N of a sample and mask, over all times that the network is run.
    """

    width: int
    depth: int
    ratio: float
    tokens: int

    @property
    def weights(self) -> int:
        """Of the blocks, norms and biases left out."""
        return int(self.depth * (4 + 2 * self.ratio) * self.width**2)

    @property
    def kept(self) -> float:
        """Numbers a sample that the backward pass needs.

        Of each block the inputs of its two norms and four linear maps, queries, keys and values,
        and twice the inner layer.
        """
        return self.tokens * self.depth * (8 + 2 * self.ratio) * self.width


def networks_named(sizes: Mapping[str, Any], tokens: int) -> tuple[NetworkSize, ...]:
    """Those of settings that name them ``width`` and ``depth``, ``predictor_width`` and so on."""
    ratio = sizes.get("mlp_ratio", USUAL_RATIO)
    return tuple(
        NetworkSize(width, sizes.get(f"{name.removesuffix('width')}depth", 1), ratio, tokens)
        for name, width in sizes.items()
        if name.endswith("width") and width
    )
