"""What a study promises of differential privacy: how much a person counts, and how much noise."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.settings import Frozen


class PrivacySettings(Frozen):
    """Subject-level differential privacy of a study's training steps.

    The neighbour of a set of people is the same set with one person more or less. A person is a
    subject id of a site's store; somebody who is at two sites spends at both.

    Attributes
    ----------
    clip : float
        C: largest norm of a person's gradient, over all trained parameters together.
    noise : float
        sigma: standard deviation, in units of C, of the Gaussian noise in a step's sum of
        gradients as the coordinator sees it.
    where : {"local", "central"}
        ``local``: each site adds all of it, and needs to trust nobody. ``central``: sites share
        it, since only the sum over them is seen (secure sums). Then the sum of one step's
        gradients is all that leaves (`require_central`).
    honest_sites : int
        With ``central``: how many sites add their share, whatever the others do; the threshold of
        the secure sum, or fewer. Each adds a variance of ``noise**2 / honest_sites``.
    """

    clip: float = Field(1.0, gt=0)
    noise: float = Field(gt=0)
    where: Literal["local", "central"] = "local"
    honest_sites: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _shared_centrally(self) -> PrivacySettings:
        if self.where == "local" and self.honest_sites > 1:
            raise ValueError(
                f"expected honest_sites of 1 where each site adds all of the noise, found "
                f"{self.honest_sites}; set where: central, or leave honest_sites out"
            )
        return self

    @property
    def site_noise(self) -> float:
        """Standard deviation, in units of C, of what one site adds to the sum of a step."""
        return self.noise / math.sqrt(self.honest_sites)


def require_private(training: TrainingSettings) -> None:
    """Refuse a recipe whose gradients are not those of one person after another.

    Raises
    ------
    ValueError
        Naming the setting.
    """
    if training.clip_norm is not None:
        raise ValueError(
            f"expected no training.clip_norm with differential privacy, found "
            f"{training.clip_norm:g}; each person's gradient is clipped instead (clip)"
        )


def require_uncompiled(computing: Computing) -> None:
    """Refuse kernels that compute many people's gradients at once only.

    Raises
    ------
    ValueError
        Naming the setting.
    """
    if computing.compile or computing.attention == "packed":
        raise ValueError(
            "expected neither compile: true nor attention: packed where a study is under "
            f"differential privacy, found {computing.in_words}; gradients of single people are "
            "computed without: set compile: false and attention: fused"
        )


def require_own_losses(shape: ModelShape) -> None:
    """Refuse a model whose losses are not each a function of one person and the weights.

    Raises
    ------
    ValueError
    """
    if shape.mixes_people:
        raise ValueError(
            "expected a model whose loss of a person depends on nobody else with differential "
            "privacy, found one that compares or normalises people of a micro-batch; learn "
            "phenotypes (model.phenotypes) where it compares them, else set norm: layer"
        )


def require_central(local_steps: int) -> None:
    """Refuse shared noise where more leaves a site than the sum of one step's gradients.

    Noise of several sites adds up in a sum of gradients. It does not in weights that went several
    steps, or through AdamW, at each site, for these are no sums of what the noise was added to.
    The optimiser's step is taken by the coordinator, as the recipe says, from what the sum tells.

    Raises
    ------
    ValueError
    """
    if local_steps > 1:
        raise ValueError(
            "expected one local step a round where sites share the noise (privacy.where: central), "
            f"found {local_steps}; noise adds up in sums of gradients, not in weights that went "
            "several steps at each site: set rounds.local_steps to 1, or choose where: local"
        )
