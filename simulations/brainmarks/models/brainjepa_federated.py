"""Our checkpoints as a model of Brainmarks (arXiv 2510.13768), found by its plug-in mechanism.

Brainmarks looks for modules in the namespace package ``brainmarks.models`` and imports them;
nothing here imports this one. Its space ``schaefer400_tians3`` is the default atlas: 50 ROIs of
Tian S3, then Schaefer 400 in 17-network order.

``cls`` is the latent connectivity that our probes read, ``patch`` the tokens of all whole windows.

Shapes: B samples, n windows, R ROIs, T frames of a window, F frames of a scan, N tokens, D width,
E pairs of ROIs.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from brainmarks.models.base import Embeddings
from brainmarks.models.registry import register_model
from torch import Tensor, nn

from brainjepa import Embedder, load, load_atlas
from brainjepa_core.evaluation.readout.connectivity import pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.models.tokens import token_validity

SPACE = "schaefer400_tians3"
SOURCE = "BRAINJEPA_MODEL"  # where Brainmarks' own test of models finds one


class BrainJepaTransform:
    """From a sample of Brainmarks to our windows: aligned, scaled and cut as the model's were."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Put windows, and what is valid of them, in the place of ``bold`` [F, R].

        The signal is brought back to its units by ``mean`` and ``std`` [1, R]. An ROI without
        variance is missing.
        """
        series = (sample.pop("bold") * sample["std"] + sample["mean"]).double().numpy().T.copy()
        series[~(np.ptp(series, axis=1) > 0)] = np.nan
        windows = self._embedder.windows_of([series], float(sample["tr"]))
        ((x, frame_valid, roi_valid),) = windows.whole_scans(0)
        sample |= {
            "windows": torch.from_numpy(x),
            "frame_valid": torch.from_numpy(frame_valid),
            "roi_valid": torch.from_numpy(roi_valid),
        }
        return sample


class BrainJepaWrapper(nn.Module):
    """A model of any registered family, frozen."""

    __space__ = SPACE

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.model = embedder.model.requires_grad_(False)

    def forward(self, batch: dict[str, Tensor]) -> Embeddings:
        """``cls`` [B, 1, E] and ``patch`` [B, n * N, D]; 0 where a token or a pair is not there."""
        pairs, tokens = [], []
        for x, frames, rois in zip(
            batch["windows"], batch["frame_valid"], batch["roi_valid"], strict=True
        ):
            whole = (x.cpu().numpy(), frames.cpu().numpy(), rois.cpu().numpy())
            pairs.append(self._connectivity(whole))
            full = max(1, int(whole[1].all(1).sum()))  # a padded window is read by pairs alone
            tokens.append(self._tokens(x[:full], whole[1][:full], whole[2][:full]))
        return Embeddings(torch.stack(pairs)[:, None], None, torch.stack(tokens))

    def _connectivity(self, whole: Any) -> Tensor:
        found = LatentReader(self.model).connectivity(_OneScan(whole), 0)
        values = np.nan_to_num(pairs_of(found)).astype(np.float32)
        return torch.from_numpy(values).to(next(self.model.parameters()).device)

    def _tokens(self, x: Tensor, frames: np.ndarray, rois: np.ndarray) -> Tensor:
        found = token_validity(frames, rois, self.model.settings.patch)
        valid = None if found is None else torch.from_numpy(found).to(x.device)
        tokens = self.model.encode(x, valid)
        return (tokens if valid is None else tokens * valid[..., None]).flatten(0, 1)


class _OneScan:
    """One scan as the reader asks for a person's."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def whole_scans(self, subject: int) -> list[Any]:
        return [self._whole]


@register_model
def brainjepa_federated(source: str | None = None, **kwargs: Any) -> Any:
    """The transform and the model of a checkpoint.

    Parameters
    ----------
    source : str, optional
        Folder of a model, a run or a study (``--overrides model_kwargs.source=RUN``); by default
        that of the environment variable BRAINJEPA_MODEL.

    Raises
    ------
    ValueError
        If there is no model, or it is of other ROIs than Brainmarks' space.
    """
    path = source or os.environ.get(SOURCE, "")
    if not path:
        raise ValueError(
            f"expected the folder of a model, found none; give model_kwargs.source, or {SOURCE} in "
            "the environment"
        )
    embedder = load(path)
    if embedder.rois != load_atlas().rois:
        raise ValueError(
            f"expected a model of the {len(load_atlas())} ROIs of {SPACE}, found one of "
            f"{len(embedder.rois)}; take one that was trained on the default atlas"
        )
    return BrainJepaTransform(embedder), BrainJepaWrapper(embedder)
