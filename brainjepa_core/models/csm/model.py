"""CSM: a frame that is masked is told from those before it, as a word from its text.

Thomas, Re, Poldrack, "Self-supervised learning of brain dynamics from broad neuroimaging data",
NeurIPS 2022 (arXiv 2206.11417); the best of its four frameworks, causal sequence modelling. One
frame of a sequence is a learned vector instead; the loss is the mean absolute error of what the
network makes of it from the frames before.

Decided where paper and published code differ or are silent:

* ROIs of an atlas take the place of DiFuMo's 1024 maps. Sequences are the first frames of random
  windows, not parts of a scan that begin at multiples of their length.
* Dropout (0.1) is left out: steps are functions of their number. So is the table of words that
  GPT-2 brings and a CSM never reads: 768 numbers of the released 32,068,608.
* The published code zeroes what comes after the masked frame; nothing before it attends there, so
  the loss is the same without.
* ROIs that a scan misses are 0 and not judged.
* Class frame and pooler are trained by a task alone, so that pretraining leaves them as drawn; by
  default the mean over states tells of a window (`CsmSettings.readout`).
* Connectivity is read from the signals that the states stand for.
* The published code gives AdamW its first beta twice; its recipe is ``training.betas: [0.9, 0.9]``.

Shapes: B batch, R ROIs, T frames, n frames of a sequence, N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.models.csm.network import FrameNetwork, frames_of
from brainjepa_core.models.csm.settings import CsmSettings
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles
from brainjepa_core.models.streams import sample_stream


class CSM(BrainModel):
    """A causal network of frames, and the frame that stands for one that is masked.

    Parameters
    ----------
    settings : CsmSettings
    basis : Tensor [R, m]
        As in `BrainModel`; this family does not read it.
    """

    roles = Roles(
        (
            "encoder.embed.",
            "encoder.norm_of_embedded.",
            "encoder.times.",
            "encoder.places.",
            "encoder.blocks.",
            "encoder.norm.",
            "encoder.unembed.",
            "mask_frame.",
        ),
        {},
        embedding=("encoder.",),
    )
    settings: CsmSettings

    def __init__(self, settings: CsmSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = FrameNetwork(settings)
        self.mask_frame = nn.Embedding(1, settings.rois)
        nn.init.normal_(self.mask_frame.weight, std=0.02)
        self.encoder.class_frame.requires_grad_(False)
        self.encoder.pooler.requires_grad_(False)

    @property
    def embedder(self) -> FrameNetwork:
        """The network of frames."""
        return self.encoder

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """``masked`` int64 [B]: which frame is masked; `masks` is not used.

        Even over the frames but the first of a sequence, whose length is drawn evenly before.

        Raises
        ------
        ValueError
            If a window has fewer than two frames.
        """
        s = self.settings
        frames = np.full(len(samples), s.frames)
        if token_valid is not None:
            tokens = token_valid.reshape(len(samples), s.rois, s.time_patches)
            seen = np.logical_or.reduce(tokens, axis=1) * np.arange(1, s.time_patches + 1)
            frames = s.patch * seen.max(1)
        if frames.min() < 2:
            raise ValueError(
                f"expected at least 2 frames in every window, found {frames.min()}; leave this "
                "scan out or use shorter patches"
            )
        masked = []
        for sample, known in zip(samples, frames, strict=True):
            chance = sample_stream(seed, step, sample)
            length = min(int(chance.integers(s.fewest, s.most)), int(known))
            masked.append(int(chance.integers(1, length)))
        return {"masked": torch.tensor(masked)}

    def sample_losses(self, x: Tensor, masked: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Mean absolute error of the masked frame, one loss a sample [B].

        Parameters
        ----------
        x : Tensor [B, R, T]
        masked : Tensor [B]
            int64.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        """
        # None is masked beyond, and what comes after changes nothing.
        frames = frames_of(self.patches(x), self.settings, token_valid)[:, : self.settings.most]
        back = self.filled_in(frames, masked)
        error = (back - take_tokens(frames, masked[:, None])[:, 0]).abs()
        if token_valid is None:
            return error.mean(1)
        rois = token_valid.reshape(len(x), self.settings.rois, -1).any(2)
        return (error * rois).sum(1) / rois.sum(1)

    def filled_in(self, frames: Tensor, masked: Tensor) -> Tensor:
        """What frame `masked` [B] of frames [B, n, R] is taken to be from those before: [B, R]."""
        place = torch.arange(frames.shape[1], device=frames.device) == masked[:, None]
        own = self.mask_frame(torch.zeros_like(masked))[:, None]
        states = self.encoder.states(torch.where(place[..., None], own, frames))
        back: Tensor = self.encoder.unembed(take_tokens(states, masked[:, None])[:, 0])
        return back
