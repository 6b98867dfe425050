"""What pretraining, federation, checkpoints and evaluation ask of a model, whatever its family.

A family is one folder beside this file: settings (`ModelShape`) and a network (`BrainModel`),
joined by an entry of the registry.

Shapes: B windows, R ROIs, T frames, p patch length, W = T / p time patches, N = R * W tokens (index
= roi * W + time patch), D width of a token, m components of the ROI basis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from brainjepa_core.models.latents import latents_of
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.pooling import pool_names, pool_tokens
from brainjepa_core.models.roles import Roles
from brainjepa_core.models.sizes import NetworkSize, networks_named
from brainjepa_core.settings import Frozen
from brainjepa_core.volume_grid import VolumesRead

Draws = dict[str, Tensor | None]
"""What a step draws for its samples beside the windows: arguments of `sample_losses`, by name."""


class ModelShape(Frozen):
    """What every model's settings tell: the window it takes and the basis it stands on.

    Attributes
    ----------
    rois, frames : int
        R and T: a window is [R, T].
    patch : int
        p: a token is one ROI over p frames.
    components : int
        m: columns of the ROI basis.
    adapters : int
        Rank of the adapters that are trained instead of all weights (`models.adapters`); 0 where
        there are none.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}
    """Fields by the name of a size; "tiny" is the one that is taken where none is named."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    """Fields by the name of a recipe."""
    predicts_rest: ClassVar[bool] = False
    """Whether `BrainModel.sample_losses` asks for ``rest`` [B, R, R], the connectivity of all that
    the windows leave of their people's scans; who has no two windows apart is left out."""
    placed_by: ClassVar[str | None] = None  # the kind of basis, where the family takes no other
    published_pool: ClassVar[str] = "mean"
    """Of `models.pooling`: what the authors read a window by."""

    rois: int = Field(ge=1)
    frames: int = Field(160, ge=1)
    patch: int = Field(16, ge=1)
    components: int = Field(30, ge=1)
    adapters: int = Field(0, ge=0)

    @property
    def learned_phenotypes(self) -> tuple[Any, ...]:
        """Phenotypes that `BrainModel.sample_losses` asks for as ``told`` [B, Q]."""
        return ()

    @property
    def mixes_people(self) -> bool:
        """Whether a loss depends on who else is in the micro-batch, which no privacy can count."""
        return False

    @property
    def volumes(self) -> VolumesRead | None:
        """What windows [B, T, X, Y, Z] are of, in place of [B, R, T]; a second is ``other``."""
        return None

    @property
    def still(self) -> bool:
        """Whether tokens of an ROI are the same at all times of a window."""
        return False

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """Networks of blocks that a step runs: what is asked of a machine."""
        return networks_named(self.model_dump(), self.tokens)

    @property
    def other_weights(self) -> int:
        """Weights that are trained beside the blocks, where they are many."""
        return 0

    @property
    def other_kept(self) -> int:
        """Numbers a person that the backward pass needs beside those of blocks."""
        return 0

    @property
    def plain(self) -> Self:
        """Those of a finished model, whose adapters are part of its layers."""
        return self.model_copy(update={"adapters": 0})

    @property
    def time_patches(self) -> int:
        """W, patches a ROI's window is cut into."""
        return self.frames // self.patch

    @property
    def tokens(self) -> int:
        """N = R * W."""
        return self.rois * self.time_patches

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.frames % self.patch:
            raise ValueError(
                f"expected frames to be a multiple of patch, found {self.frames} frames and "
                f"patch {self.patch}; choose frames {self.time_patches * self.patch or self.patch}"
            )
        return self

    @classmethod
    def preset(cls, name: str, *, rois: int, recipe: str = "default", **choices: Any) -> Self:
        """Settings of a named size.

        Parameters
        ----------
        name : str
            One of `presets`.
        rois : int
            R of the atlas.
        recipe : str
            One of `recipes`.
        **choices
            Any other field; it wins over size and recipe.

        Raises
        ------
        ValueError
            If a name is unknown, or the fields do not fit together.
        """
        if name not in cls.presets:
            raise ValueError(
                f"expected a preset among {', '.join(cls.presets)}, found '{name}'; "
                "take one of these or give the sizes themselves"
            )
        if recipe not in cls.recipes:
            raise ValueError(
                f"expected a recipe among {', '.join(cls.recipes)}, found '{recipe}'; "
                "take one of these"
            )
        return cls(**{"rois": rois, **cls.presets[name], **cls.recipes[recipe], **choices})


class BrainModel(nn.Module, ABC):
    """A network over windows of ROI signals, standing on one frozen ROI basis.

    Parameters
    ----------
    settings : ModelShape
        Of the family.
    basis : Tensor [R, m]
        Gradients of the ROIs in atlas order, or centroids (anything of R rows where none is read).
        Frozen, and a buffer, so that it is in every checkpoint.

    Raises
    ------
    ValueError
        If the basis has another shape than the settings say, or is not finite.
    """

    roles: Roles
    basis: Tensor

    def __init__(self, settings: Any, basis: Tensor) -> None:
        super().__init__()
        expected = (settings.rois, settings.components)
        if tuple(basis.shape) != expected or not torch.isfinite(basis).all():
            raise ValueError(
                f"expected a finite ROI basis of shape {expected}, found shape "
                f"{tuple(basis.shape)}; compute the basis for this atlas with this many components"
            )
        self.settings = settings
        # In one layout whoever made it: products of another layout differ in their last bits.
        self.register_buffer("basis", basis.to(torch.float32).contiguous())

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """What `sample_losses` needs of chance, a pure function of (seed, step, sample).

        Parameters
        ----------
        masks : MaskSettings
        seed, step : int
        samples : sequence of int
            Number of each of B samples in the run; equal numbers draw alike.
        token_valid : ndarray of bool [B, N], optional
            Tokens that carry a signal; all do by default.
        """
        return {}

    def step_constants(self) -> dict[str, Tensor]:
        """What `sample_losses` needs of the weights alone; computed there where it is not given."""
        return {}

    def sample_constants(self, x: Tensor, *args: Any, **draws: Any) -> Draws:
        """Further arguments of `sample_losses` through which no gradient passes, [B, ...].

        `sample_losses` computes them by itself where they are not given. Gradients of single
        people are dearer than a pass for all at once, which suffices for these. It takes what
        `sample_losses` takes.
        """
        return {}

    @abstractmethod
    def sample_losses(self, x: Tensor, *args: Any, **draws: Any) -> Tensor:
        """One loss a sample [B], whoever else is in the batch.

        Parameters
        ----------
        x : Tensor [B, R, T]
        **draws
            What `draw` gave, ``token_valid`` (bool Tensor [B, N], or None), and `step_constants`.
        """

    # Per-sample gradient hooks (Opacus) wrap a module's call.
    def forward(self, *args: Any, **draws: Any) -> Tensor:
        """`sample_losses`."""
        return self.sample_losses(*args, **draws)

    def after_step(self, momentum: float) -> None:
        """Move what follows the trained weights, once an optimiser step has been taken.

        Parameters
        ----------
        momentum : float
            Share of the old that stays.
        """

    @property
    @abstractmethod
    def embedder(self) -> nn.Module:
        """The network whose tokens are what the model knows of a window.

        It is called as ``embedder(patches [B, N, p], basis [B, R, m], valid=[B, N] or None)`` and
        gives tokens [B, N, D]. Fine-tuning freezes, adapts and decays it block by block where it
        has ``blocks`` and a last ``norm``, else as one piece. Where it has
        ``latents(patches, basis, index)``, connectivity is read from these: tokens before a last
        norm, or what tokens that are not of single ROIs say of each.
        """

    def patches(self, x: Tensor) -> Tensor:
        """Cut windows [B, R, T] into patches [B, N, p].

        Raises
        ------
        ValueError
            If `x` is not [B, R, T] of this model's R and T.
        """
        s = self.settings
        if x.dim() != 3 or tuple(x.shape[1:]) != (s.rois, s.frames):
            raise ValueError(
                f"expected windows of shape [batch, {s.rois} ROIs, {s.frames} frames], found "
                f"{list(x.shape)}; check the atlas and the window length"
            )
        return x.reshape(x.shape[0], s.tokens, s.patch)

    def basis_of(self, batch: int) -> Tensor:
        """One view of the basis a sample, [B, R, m]; `Positions.forward` says why."""
        return self.basis.expand(batch, -1, -1)

    def tokens_of(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] of windows [B, R, T], with gradients.

        Nothing attends to missing ROIs and padded frames, where `token_valid` (bool) is False.
        """
        basis = self.basis_of(x.shape[0])  # no number where batches vary: len would be one
        tokens: Tensor = self.embedder(self.patches(x), basis, valid=token_valid)
        return tokens

    @torch.no_grad()
    def latents(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Tokens before a last norm, where the embedder has one: what connectivity is read from.

        A norm would make every token of one length, and what an ROI shows at different times of
        different weight.

        Parameters
        ----------
        x : Tensor [B, R, T]
        index : Tensor [B, n], optional
            int64 tokens that are there; all by default. The others are not attended to.

        Returns
        -------
        Tensor [B, n, D], or [B, N, D] without `index`
        """
        return latents_of(self.embedder, self.patches(x), self.basis_of(len(x)), index)

    @torch.no_grad()
    def encode(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """`tokens_of`, without gradients."""
        return self.tokens_of(x, token_valid)

    @torch.no_grad()
    def embed(
        self,
        x: Tensor,
        pool: str | Sequence[str] = "mean",
        token_valid: Tensor | None = None,
        networks: Tensor | None = None,
    ) -> Tensor:
        """One vector a window, pooled from its tokens.

        Parameters
        ----------
        x : Tensor [B, R, T]
        pool : str or sequence of str
            Names of `pooling.POOLS` and ``GROUP_POOLS`` (its authors' is
            `ModelShape.published_pool`), or "second_order" for all of `pooling.SECOND_ORDER` that
            can be computed.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal, which count nowhere.
        networks : Tensor [R], optional
            int64 network of each ROI; "network_covariance" needs it.

        Returns
        -------
        Tensor [B, features]

        Raises
        ------
        ValueError
            If a pool is unknown, or networks are needed and missing.
        """
        tokens = self.encode(x, token_valid)
        pools = pool_names(pool, networks)
        s = self.settings
        return pool_tokens(tokens, s.time_patches, pools, token_valid, networks, still=s.still)
