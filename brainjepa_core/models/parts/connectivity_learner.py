"""Families that learn phenotypes from connectivity: a network, and the windows it reads.

Published for whole scans and labels at one place, they federate as `phenotype_heads` does: a window
takes the place of a scan, a loss is a function of one person and the weights, and what several
sites have learned is one model. So no layer has statistics of a batch, and nothing is dropped.

Shapes: B batch, R ROIs, T frames, W time patches, N = R * W tokens, p patch length, D numbers an
ROI is told by, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.connectivity import (
    fisher_z,
    partial_correlation,
    shrunk_correlation,
    there,
)
from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes, squared_errors
from brainjepa_core.models.roles import Roles

MATRICES = 4  # of pairs of ROIs, that a step keeps a person


class ConnectivityNetwork(nn.Module, ABC):
    """A network over people's connectivity.

    It is called with rows of Fisher z [B, R, R], the diagonal 0; which ROIs are there [B, R]; and,
    where `reads_edges`, absolute Fisher z of partial correlations [B, R, R], the diagonal 0. It
    gives outputs [B, O].
    """

    reads_edges: ClassVar[bool] = False

    @abstractmethod
    def nodes(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """What it knows of each ROI [B, R, D] by the first of its layers."""

    def learned(
        self, arguments: tuple[Tensor, ...], classes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs [B, O], and what is to be small beside their losses [B].

        Parameters
        ----------
        arguments : tuple of Tensor
            Of a call.
        classes : Tensor [B], optional
            int64 class of each person, where people of a class are to be alike in something.
        """
        outputs: Tensor = self(*arguments)
        return outputs, outputs.new_zeros(len(outputs))


class ConnectivityEncoder(nn.Module):
    """A network and the windows whose connectivity it reads."""

    def __init__(self, network: ConnectivityNetwork, rois: int) -> None:
        super().__init__()
        self.network, self.rois = network, rois

    def arguments(self, x: Tensor, token_valid: Tensor | None) -> tuple[Tensor, ...]:
        """What the network is called with, of windows [B, R, T]."""
        frames, rois = there(x, token_valid)
        correlation = shrunk_correlation(x, frames, rois)
        read = fisher_z(correlation), rois.expand(x.shape[0], -1)
        if not self.network.reads_edges:
            return read
        return *read, fisher_z(partial_correlation(correlation)).abs()

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] of patches [B, N, p], those of an ROI alike; `basis` is not read."""
        x = patches.reshape(patches.shape[0], self.rois, -1)
        nodes = self.network.nodes(*self.arguments(x, valid))
        return nodes.repeat_interleave(patches.shape[1] // self.rois, dim=1)


class ConnectivityLearnerSettings(LearnsPhenotypes):
    """Settings of a family that learns phenotypes from connectivity."""

    @model_validator(mode="after")
    def _all_is_trained(self) -> Self:
        if self.adapters:
            raise ValueError(
                "expected a family whose attention was pretrained with training.train: adapters, "
                "found one that learns from labels alone; set training.train: all"
            )
        return self

    @property
    def still(self) -> bool:
        """The whole window makes the token of an ROI."""
        return True

    @property
    def other_kept(self) -> int:
        """Matrices of all pairs of ROIs."""
        return MATRICES * self.rois**2

    @abstractmethod
    def network(self) -> ConnectivityNetwork:
        """A new network, with one output a phenotype."""

    def require_usable(self, rois: NDArray[np.bool_]) -> None:
        """Refuse people whose missing ROIs the network cannot do without; by default, none.

        Parameters
        ----------
        rois : ndarray of bool [B, R]
            Which are there.

        Raises
        ------
        ValueError
        """


class ConnectivityLearner(BrainModel):
    """A network that tells phenotypes by the connectivity of a window.

    Parameters
    ----------
    settings : ConnectivityLearnerSettings
    basis : Tensor [R, m]
        As in `BrainModel`; these families do not read it.
    """

    roles = Roles(("encoder.",), {}, embedding=("encoder.",))
    settings: ConnectivityLearnerSettings

    def __init__(self, settings: ConnectivityLearnerSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = ConnectivityEncoder(settings.network(), settings.rois)

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Nothing; people whom the network cannot do with are refused here, off the device.

        Raises
        ------
        ValueError
        """
        if token_valid is not None:
            tokens = token_valid.reshape(len(samples), self.settings.rois, -1)
            self.settings.require_usable(np.logical_or.reduce(tokens, axis=2))
        return {}

    @property
    def embedder(self) -> ConnectivityEncoder:
        """The network, read at its first layers."""
        return self.encoder

    def outputs(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Phenotypes [B, Q] that windows [B, R, T] tell, in the units of the settings."""
        self.patches(x)  # checks the shape
        out: Tensor = self.encoder.network(*self.encoder.arguments(x, token_valid))
        return out

    def sample_losses(
        self, x: Tensor, told: Tensor, token_valid: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Squared error of what is known [B], and what the network adds for a person.

        Parameters
        ----------
        x : Tensor [B, R, T]
        told : Tensor [B, Q]
            As `Phenotype.encoded` gives them; NaN where not known.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        """
        self.patches(x)
        outputs, added = self.encoder.network.learned(self.encoder.arguments(x, token_valid), None)
        known = (~torch.isnan(told)).any(1)  # who tells nothing moves nothing
        return squared_errors(outputs, told) + added * known
