"""How a model is fine-tuned: what its head reads, which of its weights move, and how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainjepa_core.evaluation.features.readouts import BOTH, LatentReadOut
from brainjepa_core.evaluation.learning.supervised import TrainingSettings


class FinetuneSettings(TrainingSettings):
    """Fields of `TrainingSettings`, and those of fine-tuning.

    Attributes
    ----------
    lr : float
        Of the encoder's last layer, where it moves.
    head_lr : float
        Of the head, where it moves alone. Its inputs are scaled so that a step moves an output by
        no more than this.
    train : {"head", "adapters", "all"}
        What moves: the head alone; or adapters of the encoder's attention and its LayerNorms
        (`models.adapters`), or the whole encoder, with a head that stays the probe of what the
        encoder reads by now.
    readouts : tuple of {"latent_connectivity", "latent_log_connectivity"}
        What the head reads of a person.
    layer_decay : float
        Factor of the learning rate from each layer to the one below it.
    adapter_rank : int
        Of ``train: adapters``.
    """

    steps: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=2)
    lr: float = Field(1e-3, gt=0)
    head_lr: float = Field(2e-3, gt=0)
    evaluate_every: int = Field(10, ge=1)
    patience: int = Field(3, ge=1)
    train: Literal["head", "adapters", "all"] = "head"
    readouts: tuple[LatentReadOut, ...] = Field(BOTH, min_length=1)
    layer_decay: float = Field(0.75, gt=0, le=1)
    adapter_rank: int = Field(4, ge=1)
