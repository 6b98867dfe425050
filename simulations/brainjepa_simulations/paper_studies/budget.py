"""What training a model costs on this machine, told before it is begun: parameters, minutes.

Shapes: N tokens of a window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.settings import PretrainingSettings

SIDE = {"cpu": 512, "cuda": 4096}  # of matrices that tell the speed; small ones leave a GPU idle
TRIES = 8
A_PARAMETER = 6.0  # operations a token: two forward, four backward (Kaplan et al. 2020)


@dataclass(frozen=True)
class Cost:
    """Of one training.

    Attributes
    ----------
    parameters : int
        That are trained.
    tokens : int
        N.
    steps : int
    minutes : float
        About, on this machine, without attention's own share.
    """

    parameters: int
    tokens: int
    steps: int
    minutes: float


@dataclass(frozen=True)
class Budget:
    """How long one training may take.

    Attributes
    ----------
    minutes : float
    speed : float
        Operations a second, of `measured_speed`.
    """

    minutes: float
    speed: float

    def cost_of(self, study: PretrainingSettings, basis: ConsensusBasis) -> Cost:
        """What a training costs; of the basis only the ROIs count."""
        model = study.new_model(basis)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        steps, tokens = study.training.schedule.total_steps, model.settings.tokens
        work = A_PARAMETER * parameters * tokens * study.training.batch_size * steps
        return Cost(parameters, tokens, steps, work / self.speed / 60)

    def affords(self, cost: Cost) -> bool:
        return cost.minutes <= self.minutes


def measured_speed(device: str) -> float:
    """Operations a second of a device in a product of matrices, in float32."""
    side = SIDE[torch.device(device).type]
    a = torch.ones(side, side, device=device)
    float((a @ a)[0, 0])  # what begins once
    began = time.perf_counter()
    for _ in range(TRIES):
        b = a @ a
    float(b[0, 0])  # waits for the device
    return TRIES * 2.0 * side**3 / (time.perf_counter() - began)
