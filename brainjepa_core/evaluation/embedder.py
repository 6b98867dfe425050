"""A model with its preprocessing: series of ROI signals in, tokens and embeddings out.

Shapes: R ROIs, F frames of a scan, n windows of it, N tokens of a window, D width of a token,
P features of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.readout.connectivity import matrix_of
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, LATENT_LOG, embed_people
from brainjepa_core.machine.devices import require_device
from brainjepa_core.models.consensus_file import read_consensus
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import pool_names
from brainjepa_core.models.registry import DEFAULT
from brainjepa_core.models.sharing.archive import opened
from brainjepa_core.models.sources import model_folder, read_source
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.local import pretrain_locally
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.storing.series_store import SeriesStore
from brainjepa_core.signals.storing.stores import open_stores
from brainjepa_core.signals.tables.roi_names import in_atlas_order
from brainjepa_core.signals.tables.series_files import read_series
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

PUBLISHED_TR = 2.0  # seconds, of the windows that published models were trained on


class Embedder:
    """A model, and how signals are brought to it: by name of ROI, time step, length and scale.

    Parameters
    ----------
    model : BrainModel
    atlas : Atlas
        ROIs in the order of the model's rows.
    windows : WindowSettings
        How the model's windows were made.
    device : str
    consensus : ndarray of float64 [R, R], optional
        Mean connectivity of the people that the model's basis is of, which log-connectivity is seen
        from.
    """

    def __init__(
        self,
        model: BrainModel,
        atlas: Atlas,
        windows: WindowSettings,
        device: str = "cpu",
        consensus: Float64 | None = None,
    ) -> None:
        require_device(device)
        self.model = model.to(device).eval()
        self.atlas, self.windows, self.device = atlas, windows, device
        self.consensus = consensus

    @property
    def rois(self) -> tuple[str, ...]:
        """Names of the R ROIs, in the order of rows of a series."""
        return self.atlas.rois

    def tokens(
        self, series: ArrayLike | str | Path, tr: float, rois: Sequence[str] = ()
    ) -> Float32:
        """Tokens of all windows of a scan.

        Parameters
        ----------
        series : array [R, F] or path
            In the order of `rois`; a row of NaN is a missing ROI. Or a file of one scan: TSV, CSV
            (also .gz), .1D, NPY, NPZ or HDF5, whose ROIs are known by its names.
        tr : float
            Repetition time in seconds.
        rois : sequence of str, optional
            Names of the rows, in any order, where they are not those of the model in its order.

        Returns
        -------
        ndarray of float32 [n, N, D]
            Windows side by side in time; token index = ROI * time patches + time patch. Tokens
            without a signal are NaN.

        Raises
        ------
        ValueError
            If the series does not fit the model's ROIs, or holds no usable signal.
        """
        x, frame_valid, roi_valid = self.windows_of([self._array(series, rois)], tr).full_windows(0)
        found = token_validity(frame_valid, roi_valid, self.model.settings.patch)
        valid = None if found is None else torch.from_numpy(found).to(self.device)
        tokens = self.model.encode(torch.from_numpy(x).to(self.device), valid)
        if valid is not None:
            tokens = tokens.masked_fill(~valid[..., None], torch.nan)
        result: Float32 = tokens.float().cpu().numpy()
        return result

    def embed(
        self,
        series: ArrayLike | str | Path | Sequence[ArrayLike],
        tr: float | Sequence[float],
        pool: str | Sequence[str] = LATENT_CONNECTIVITY,
        rois: Sequence[str] = (),
    ) -> Float32:
        """One vector a scan: its read-out, or the mean of a pool over its windows.

        Parameters
        ----------
        series : array [R, F], path, or a list of them
            As `tokens` takes them. Those of a list are taken for one site's.
        tr : float or sequence of float
            In seconds, of all scans or of each.
        pool : str or sequence of str
            ``latent_connectivity`` is Fisher z of each pair of ROIs by the network's answers
            (`readout.latent`), in the order of ``numpy.tril_indices(R, -1)``; NaN with a missing
            ROI. ``latent_log_connectivity`` is the same as the consensus sees it
            (`readout.log_connectivity`), without gaps. Or of `models.pooling`: ``mean`` is
            published, ``second_order`` is short.
        rois : sequence of str, optional

        Returns
        -------
        ndarray of float32 [P], or [scans, P] of a list
        """
        many = isinstance(series, list | tuple)
        given: Sequence[Any] = series if many else [series]  # type: ignore[assignment]
        windows = self.windows_of([self._array(scan, rois) for scan in given], tr)
        parts = self.features(windows, pool)
        together = np.concatenate([parts[name] for name in parts], axis=1)
        return together if many else together[0]

    def features(self, windows: Windows, pool: str | Sequence[str]) -> dict[str, Float32]:
        """Embeddings [people, P] of windows by the pools that a name means."""
        networks = networks_of(windows, self.model.basis.cpu().numpy())
        pools = pool_names(pool, torch.from_numpy(networks))
        read = dict.fromkeys(LATENT_CONNECTIVITY if p == LATENT_LOG else p for p in pools)
        found = embed_people(self.model, windows, range(windows.subjects), tuple(read), networks)
        if LATENT_LOG in pools:
            found[LATENT_LOG] = self._log_connectivity(found[LATENT_CONNECTIVITY])
        return {name: found[name].astype(np.float32) for name in pools}

    def _log_connectivity(self, pairs: Float64) -> Float64:
        if self.consensus is None:
            raise ValueError(
                "expected a model with the consensus connectivity that log-connectivity is seen "
                "from, found one without; take that of a study or of a run (brainjepa pretrain)"
            )
        return LogConnectivity.of(self.consensus).features(matrix_of(pairs))

    def _array(self, series: Any, rois: Sequence[str]) -> NDArray[np.floating[Any]]:
        if isinstance(series, str | Path):
            return read_series(Path(series), rois or self.rois).T
        array = np.asarray(series, np.float64)
        return in_atlas_order(array, rois, self.atlas) if len(rois) else array

    def windows_of(self, series: Sequence[ArrayLike], tr: float | Sequence[float]) -> Windows:
        """Windows of scans [R, F], one person each, made as the model's were.

        Raises
        ------
        ValueError
            If a scan cannot be used, or does not fill one token.
        """
        if self.model.settings.volumes is not None:
            raise ValueError(
                "expected a model that reads series of ROIs, found one that reads volumes; embed "
                "the people of a store that has them (brainjepa site embed, or features(windows))"
            )
        store = SeriesStore(series, tr, self.atlas)
        windows = Windows([store], self.windows, patch=self.model.settings.patch)
        if windows.left_out:  # whoever asks counts on a row for each
            scan, reason = windows.left_out[0]
            raise ValueError(f"series {int(scan.rpartition('/')[2])}: {reason}")
        return windows


def load(
    source: str | Path,
    *,
    gradients: Any = None,
    windows: WindowSettings | None = None,
    device: str = "cpu",
    family: str = DEFAULT,
) -> Embedder:
    """Load a model with its preprocessing.

    Parameters
    ----------
    source : path
        Folder of a model, of a pretraining run or of a study, or a .zip or .tar.gz of a model's
        folder; or the file of a published checkpoint (``.pth.tar``).
    gradients : path or array [R, m], optional
        Of a published checkpoint, which does not hold them.
    windows : WindowSettings, optional
        How signals are brought to a published checkpoint, which does not say; by default as it
        was trained (2 s, official resampling and scaling, which needs data with its baseline).
    device : str
    family : str
        Of a published checkpoint.

    Returns
    -------
    Embedder

    Raises
    ------
    ValueError
        If there is no such model, or what is given does not fit it.
    """
    with opened(source) as folder:
        model, told = read_source(folder, gradients, family)
        rois = model.settings.rois
        consensus = None if told is None else read_consensus(model_folder(folder), rois)
    if told is None:
        frames = model.settings.frames
        published = WindowSettings(
            frames=frames, tr=PUBLISHED_TR, temporal="official", scaling="official"
        )
        return Embedder(model, _atlas_of_rows(model.settings.rois), windows or published, device)
    if windows is not None:
        raise ValueError(
            "expected no windows with a model that says how its own were made, found some; leave "
            "them out"
        )
    atlas = _atlas_named(told.rois, told.atlas)
    return Embedder(model, atlas, WindowSettings(**told.signals), device, consensus)


def pretrain(
    scans: Sequence[ArrayLike | str | Path | Scans],
    out: str | Path,
    settings: PretrainingSettings | Mapping[str, Any] | None = None,
    *,
    tr: float | Sequence[float] | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Embedder:
    """Pretrain a model on this machine; a run that was cut short goes on.

    Parameters
    ----------
    scans : sequence
        Series [R, F], one a person, in the order of one atlas; or stores, or paths of stores.
    out : path
        Folder of the run; ``brainjepa.load(out)`` reads its model.
    settings : PretrainingSettings or mapping, optional
        Model, windows, basis and recipe.
    tr : float or sequence of float, optional
        Repetition time of series in seconds, of all or of each; stores know theirs.
    device : str
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        If settings do not fit together or the data, or the folder holds another run.
    """
    if settings is None or isinstance(settings, PretrainingSettings):
        study = settings or PretrainingSettings()
    else:
        study = PretrainingSettings.model_validate(settings)
    model = pretrain_locally(_stores(scans, tr), out, study, device, progress=progress)
    return load(model, device=device)


def _stores(
    scans: Sequence[ArrayLike | str | Path | Scans], tr: float | Sequence[float] | None
) -> Sequence[Scans]:
    if any(isinstance(scan, str | Path) for scan in scans):
        return open_stores([scan for scan in scans if isinstance(scan, str | Path)])
    if all(hasattr(scan, "records") for scan in scans):
        return cast("Sequence[Scans]", scans)
    if tr is None:
        raise ValueError(
            "expected the repetition time of the series in seconds, found none; give tr"
        )
    return [SeriesStore(cast("Sequence[ArrayLike]", scans), tr)]


def _atlas_of_rows(rois: int) -> Atlas:
    """The shipped atlas where a published checkpoint has as many rows, else numbers as names."""
    atlas = load_atlas()
    if len(atlas) == rois:
        return atlas
    return Atlas.from_names([f"ROI {i}" for i in range(1, rois + 1)], "unnamed")


def _atlas_named(rois: tuple[str, ...], name: str) -> Atlas:
    """With networks: those of the shipped atlas for its ROIs, else what names tell."""
    atlas = load_atlas()
    if atlas.rois == rois:
        return atlas
    return Atlas.from_names(rois, name)
