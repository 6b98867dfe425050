"""A model as MLflow loads it: series of ROI signals in, embeddings out, no code in its files.

Shapes: n scans, R ROIs, F frames, P features.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.embedder import Embedder, load
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.checkpoint import read_description
from brainjepa_core.models.sharing.archive import FILES
from brainjepa_core.version import VERSION


class SeriesModel:
    """What ``mlflow.pyfunc.load_model`` gives to predict with."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def predict(self, series: ArrayLike, params: Mapping[str, Any] | None = None) -> Float32:
        """Embeddings [n, P] of scans [n, R, F] in the order of the model's ROIs.

        Parameters
        ----------
        series : array [n, R, F]
            A row of NaN is a missing ROI.
        params : mapping, optional
            ``tr`` in seconds and ``pool``, as `Embedder.embed` takes them; by default the time step
            of the model's windows, and latent connectivity.
        """
        told = {"tr": self.embedder.windows.tr, "pool": LATENT_CONNECTIVITY, **(params or {})}
        scans = list(np.asarray(series))
        return self.embedder.embed(scans, float(told["tr"]), str(told["pool"]))


def reads_series(folder: Path) -> bool:
    """Whether a model is one that MLflow can load: not where it reads volumes of a store."""
    return read_description(folder).settings.volumes is None


def write_pyfunc(folder: Path, out: Path) -> None:
    """Write a model's folder as a new folder that MLflow loads, with signature and example."""
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    model = SeriesModel(load(folder))
    windows, rois = model.embedder.windows, len(model.embedder.rois)
    noise = np.random.default_rng(0).standard_normal((1, rois, windows.frames)).round(2)
    params = {"tr": float(windows.tr), "pool": LATENT_CONNECTIVITY}
    features = model.predict(noise, params).shape[1]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float64"), (-1, rois, -1))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, features))]),
        ParamSchema(
            [
                ParamSpec("tr", "double", params["tr"]),
                ParamSpec("pool", "string", params["pool"]),
            ]
        ),
    )
    with TemporaryDirectory() as made:
        data = Path(made) / "brainjepa"
        data.mkdir()
        for name in FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, data / name)
        pyfunc.save_model(
            str(out),
            loader_module=__name__,
            data_path=str(data),
            signature=signature,
            input_example=(noise, params),
            pip_requirements=[f"brainjepa-federated=={VERSION}"],
        )


def _load_pyfunc(path: str) -> SeriesModel:
    """Called by MLflow."""
    return SeriesModel(load(path))
