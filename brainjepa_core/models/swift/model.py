"""SwiFT as a family: it reads volumes, and learns by time contrast or from phenotypes.

Kim et al., NeurIPS 2023 (arXiv 2307.05916), its contrast after TCLR (Dave et al. 2022). Two windows
of a scan that share no frame are told from those of the other people of a micro-batch, and each,
in two augmentations, from the other. With `SwiftSettings.phenotypes` the mean feature tells
phenotypes instead, as in the paper's supervised models.

Decided where paper and published code are silent, or a site needs it otherwise:

* The two views that are compared within a person are both augmented; windows of two people are
  compared in the first of them. Both losses count alike.
* Vectors are normalised each by itself; by the batch, as published, with ``norm: batch``.
* ROIs are tokens of the place that their centre lies in, hence ``basis: {kind: centroids}``: so
  probes, connectivity and fine-tuning read a SwiFT as any other family. A centre beyond the grid
  is taken to its edge. The published sizes have eight places in their last stage.
* Phenotypes are learned by squared error, classes as -1 and 1, as all families here learn them.
* Dropout is left out: steps are functions of their number.

Shapes: B people, T frames, X, Y, Z voxels, R ROIs, N tokens, Q phenotypes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.phenotypes import squared_errors
from brainjepa_core.models.roles import Roles
from brainjepa_core.models.swift.augmenting import VIEWS, Changes, augmented, draw_changes
from brainjepa_core.models.swift.contrast import ContrastHead, time_contrast
from brainjepa_core.models.swift.encoder import SwiftEncoder
from brainjepa_core.models.swift.settings import SwiftSettings


class SwiftModel(BrainModel):
    """A SwiFT, and what asks it for a person or for phenotypes.

    Parameters
    ----------
    settings : SwiftSettings
    basis : Tensor [R, 3]
        Centres of the ROIs in mm of MNI space.
    """

    roles = Roles(("encoder.network.", "head."), {}, embedding=("encoder.",), heads=("head.",))
    settings: SwiftSettings

    def __init__(self, settings: SwiftSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        s = settings
        self.encoder = SwiftEncoder(s)
        self.head: nn.Module = (
            nn.Linear(s.features, len(s.phenotypes))
            if s.phenotypes
            else ContrastHead(s.features, s.projection, s.norm)
        )

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Augmentations of both windows, as `draw_changes` draws them; `masks` is not used."""
        if self.settings.phenotypes:
            return {}
        drawn = draw_changes(self.settings.volume, seed=seed, step=step, samples=samples)
        return dict(drawn._asdict())

    @property
    def embedder(self) -> SwiftEncoder:
        """The network, by places of ROIs."""
        return self.encoder

    def patches(self, x: Tensor) -> Tensor:
        """Windows [B, T, X, Y, Z] as the embedder takes them.

        Raises
        ------
        ValueError
            If they are not of this model's size.
        """
        s = self.settings
        if x.dim() != 5 or tuple(x.shape[1:]) != (s.frames, *s.volume):
            raise ValueError(
                f"expected windows of {s.frames} volumes of {' x '.join(map(str, s.volume))} "
                f"voxels, found {list(x.shape)}; a model of volumes reads people of a store that "
                "has them (prepare.volumes)"
            )
        return x

    def outputs(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Phenotypes [B, Q] that windows [B, T, X, Y, Z] tell, in the units of the settings."""
        found: Tensor = self.head(self.encoder.features(self.patches(x), token_valid))
        return found

    def sample_losses(
        self,
        x: Tensor,
        other: Tensor | None = None,
        told: Tensor | None = None,
        token_valid: Tensor | None = None,
        **changes: Tensor,
    ) -> Tensor:
        """Losses [B]: of phenotypes where they are told, else of the contrast.

        Parameters
        ----------
        x, other : Tensor [B, T, X, Y, Z]
            Two windows of a scan, the second for the contrast.
        told : Tensor [B, Q], optional
            Phenotypes, as `Phenotype.encoded` gives them; NaN where not known.
        token_valid : Tensor [B, N], optional
            bool; frames in which none is valid are not there. A contrast is of whole windows.
        **changes : Tensor [B, 2, 2, ...]
            What `draw` gave.
        """
        if told is not None:
            return squared_errors(self.outputs(x, token_valid), told)
        assert other is not None
        windows = torch.stack([self.patches(x), self.patches(other)], 1).flatten(0, 1)
        seen, again = (
            self.head(self.encoder.features(augmented(windows, _view(changes, view))))
            for view in range(VIEWS)
        )
        return time_contrast(seen.unflatten(0, (-1, 2)), again.unflatten(0, (-1, 2)))


def _view(changes: dict[str, Tensor], view: int) -> Changes:
    """Changes [2 B] of all windows in one of their views, of those [B, 2, 2] of all."""
    return Changes(**{name: part[:, :, view].flatten(0, 1) for name, part in changes.items()})
