"""A model's embedding as a scikit-learn transformer of ROI series.

Shapes: n scans, R ROIs, F frames, P features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.embedder import Embedder, load
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.signals.windows import Windows


class SeriesEmbedding(TransformerMixin, BaseEstimator):
    """Embed scans by a pretrained model; learns nothing from them.

    Parameters
    ----------
    model : path or Embedder
        As `brainjepa.load` takes it, or what it returned.
    tr : float
        Repetition time of the scans in seconds.
    pool : str or sequence of str
        Of `brainjepa_core.models.pooling`.
    device : str
        Where a model that is loaded computes.

    Attributes
    ----------
    embedder_ : Embedder
    n_features_out_ : int
        P.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(SeriesEmbedding("runs/demo", tr=2.0), LogisticRegression())
    """

    def __init__(
        self,
        model: str | Path | Embedder,
        tr: float = 2.0,
        pool: str | Sequence[str] = LATENT_CONNECTIVITY,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.tr = tr
        self.pool = pool
        self.device = device

    def fit(self, X: Sequence[ArrayLike], y: Any = None) -> Self:
        """Load the model, and check the scans against it.

        Parameters
        ----------
        X : sequence of array [R, F], or array [n, R, F]
        y : ignored

        Raises
        ------
        ValueError
            If the scans are not of the model's ROIs.
        """
        embedder = self.model
        self.embedder_ = (
            embedder if isinstance(embedder, Embedder) else load(embedder, device=self.device)
        )
        first = self._windows(X).only([0])
        widths = {name: x.shape[1] for name, x in self.embedder_.features(first, self.pool).items()}
        self._names = [f"{name}_{i}" for name, width in widths.items() for i in range(width)]
        self.n_features_out_ = len(self._names)
        return self

    def transform(self, X: Sequence[ArrayLike]) -> Float32:
        """One row a scan.

        Parameters
        ----------
        X : sequence of array [R, F], or array [n, R, F]
            With a scaling that is learned from a site's scans, these are taken for one site's.

        Returns
        -------
        ndarray of float32 [n, P]
        """
        check_is_fitted(self)
        parts = self.embedder_.features(self._windows(X), self.pool)
        return np.concatenate(list(parts.values()), axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the P features: the pool's, and a number."""
        check_is_fitted(self)
        return np.array(self._names, dtype=object)

    def _windows(self, X: Sequence[ArrayLike]) -> Windows:
        return self.embedder_.windows_of(list(X), self.tr)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.no_validation = True  # scans may differ in length, so they are no single array
        return tags
