"""How an encoder is fine-tuned: which of its weights move, how far, and what the head reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainjepa_core.evaluation.learning.supervised import TrainingSettings


class FinetuneSettings(TrainingSettings):
    """Fields of `TrainingSettings`, and those of fine-tuning.

    Attributes
    ----------
    train : {"all", "head", "norms", "lora"}
        What moves beside the head: all of the encoder; nothing; its norms only, so that a site's
        model differs from the one that all share in what FedBN (Li et al., ICLR 2021) keeps
        local; or a low-rank difference of its attention's projections.
    pool : str or tuple of str
        What the head reads of the tokens: names of `brainjepa_core.models.pooling`.
        ``mean`` is published; ``second_order`` tells more of z-scored signals.
    freeze_blocks : int
        The patch embedding, the positions and this many first blocks do not move.
    layer_decay : float
        Factor of the learning rate from each layer to the one below it.
    head_factor : float
        Of the head's learning rate over that of the encoder's last layer: the head begins at
        nothing.
    drop_path : float
        Rate at the last block; it grows linearly from 0 at the first that moves.
    lora_rank : int
    lora_alpha : float
        The difference counts ``alpha / rank``.
    """

    steps: int = Field(200, ge=1)
    batch_size: int = Field(16, ge=2)
    evaluate_every: int = Field(20, ge=1)
    patience: int = Field(4, ge=1)
    train: Literal["all", "head", "norms", "lora"] = "all"
    pool: str | tuple[str, ...] = "mean"
    freeze_blocks: int = Field(0, ge=0)
    layer_decay: float = Field(0.75, gt=0, le=1)
    head_factor: float = Field(10.0, gt=0)
    drop_path: float = Field(0.1, ge=0, lt=1)
    lora_rank: int = Field(4, ge=1)
    lora_alpha: float = Field(8.0, gt=0)
