"""A private step's gradient: each person's own, clipped; their sum; noise; over the expected batch.

DP-SGD (Abadi et al., CCS 2016) with Poisson sampling. Shapes: B people of a micro-batch, P numbers
of all trained parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import Parameter

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.computing.kernels import chosen_kernels, rounding
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import (
    PrivacySettings,
    require_own_losses,
    require_private,
    require_uncompiled,
)

USE = "noise"
# The CPU's fused attention is called person by person, of which vmap warns. That is faster than
# unfused attention, which it could do for all at once (1.3 against 2.1 times a plain step).
warnings.filterwarnings("ignore", ".*batching rule for aten::_scaled_dot_product", UserWarning)

CHUNK_BYTES = 1 << 29  # of gradients of single people that are held at once, twice
SampleGradients = Callable[..., tuple[dict[str, Tensor], Tensor]]


class Clipped(NamedTuple):
    """Gradients of some people, and what shortens each to the clip.

    Attributes
    ----------
    rows : Tensor [people, P]
        All trained parameters in their order; 0 where a number is not finite.
    factors : Tensor [people]
        At most 1; 0 of a person whose gradient is not finite.
    loss : Tensor
        Sum of the finite losses. It tells of people, and stays at the site.
    """

    rows: Tensor
    factors: Tensor
    loss: Tensor


class ClippedGradients:
    """Each person's gradient over all trained parameters, and its factor to the clip.

    A person whose gradient is not finite counts 0.

    Parameters
    ----------
    model : BrainModel
        Whose losses are each a function of one sample and the weights.
    settings : TrainingSettings
    clip : float
        C, of the norm over all parameters together, in the weights' dtype.
    device : torch.device
    computing : Computing

    Raises
    ------
    ValueError
        If the recipe clips by itself, the model mixes people, or what was chosen does not compute
        one person's gradient.
    """

    def __init__(
        self,
        model: BrainModel,
        settings: TrainingSettings,
        clip: float,
        device: torch.device,
        computing: Computing = EXACT,
    ) -> None:
        require_private(settings)
        require_own_losses(model.settings)
        require_uncompiled(computing)
        self.clip, self.device, self.computing = clip, device, computing
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        bytes_a_person = sum(p.numel() * p.element_size() for p in self.trained.values())
        self._chunk = max(1, CHUNK_BYTES // bytes_a_person)
        self._model = model

    def __call__(self, batches: Sequence[Batch]) -> Iterator[Iterator[Clipped]]:
        """Of each micro-batch, as many people at once as memory allows; none where it is empty."""
        if not batches:
            return
        with chosen_kernels(self.computing, self.device), self._rounding():
            constants = self._model.step_constants()
        for batch in batches:
            yield self._of_batch(batch.to(self.device), constants)

    def _of_batch(self, batch: Batch, constants: dict[str, Tensor]) -> Iterator[Clipped]:
        for part in _chunks(batch, self._chunk):
            with chosen_kernels(self.computing, self.device):
                clipped = self._clipped(part, constants)
            yield clipped

    def _clipped(self, batch: Batch, constants: dict[str, Tensor]) -> Clipped:
        gradients, losses = self._sample_gradients(batch, constants)
        # One matrix: small models have as many tensors as their steps have milliseconds.
        rows = torch.cat([gradients[name].flatten(1) for name in self.trained], dim=1)
        norms = rows.norm(dim=1)
        finite = torch.isfinite(norms)
        factors = torch.where(finite, (self.clip / norms).clamp(max=1.0), 0.0)
        rows.nan_to_num_(0.0, 0.0, 0.0)  # 0 times what is no number is no number
        loss = torch.where(torch.isfinite(losses), losses, 0.0).sum().detach()
        return Clipped(rows, factors, loss)

    def _sample_gradients(
        self, batch: Batch, constants: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients [B, ...] of each trained parameter and losses [B], in the weights' dtype."""
        draws = {"token_valid": batch.token_valid, **batch.draws}

        def loss(parameters: dict[str, Tensor], sample: dict[str, Tensor]) -> Tensor:
            one = {name: value[None] for name, value in sample.items()}
            losses: Tensor = functional_call(self._model, parameters, kwargs={**one, **constants})
            return losses.sum()

        weights = {name: p.detach() for name, p in self.trained.items()}
        compute: SampleGradients = vmap(grad_and_value(loss), in_dims=(None, 0))
        with self._rounding():
            given = {**draws, **self._model.sample_constants(batch.x, **draws, **constants)}
            told = {name: value for name, value in given.items() if value is not None}
            return compute(weights, {"x": batch.x, **told})

    def _rounding(self) -> torch.autocast:
        # Casts are not kept from call to call: they would outlive their transform.
        return rounding(self.computing, self.device, keep_casts=False)


class PrivateGradient:
    """Takes the place of `pretraining.step.MeanGradient`.

    Where nobody is drawn, the gradient is noise alone.

    Parameters
    ----------
    model, settings, device, computing
        As `ClippedGradients` takes them. The batch size is B, what the sum is divided by, never the
        number that was drawn.
    protection : PrivacySettings
    secret : RequestSecret
        Of the noise.
    first_step : int
        Number of the step that the first call computes; each call is the step after.
    processes : Processes
        That share the micro-batches; each adds the same noise to the sum of all.

    Raises
    ------
    ValueError
        As `ClippedGradients`.
    """

    def __init__(
        self,
        model: BrainModel,
        settings: TrainingSettings,
        protection: PrivacySettings,
        secret: RequestSecret,
        first_step: int,
        device: torch.device,
        computing: Computing = EXACT,
        processes: Processes = ALONE,
    ) -> None:
        self._clipped = ClippedGradients(model, settings, protection.clip, device, computing)
        self.settings, self.protection, self.processes = settings, protection, processes
        self.secret, self.step = secret, first_step

    @property
    def trained(self) -> dict[str, Parameter]:
        """Parameters by name."""
        return self._clipped.trained

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Set the parameters' gradients to those of a private step.

        Returns
        -------
        Tensor
            Sum of the finite losses over the expected batch; 0 where nobody was drawn.
        """
        numbers = [p.numel() for p in self.trained.values()]
        like = next(iter(self.trained.values()))
        own = (self._sum_of(people, sum(numbers)) for people in self._clipped(batches))
        total, (loss,) = self.processes.add(own, like.new_empty(sum(numbers) + 1)).split(
            [sum(numbers), 1]
        )
        noise = self.secret.stream(USE, self.step).normals(len(total))
        total.add_(noise.to(total), alpha=self.protection.site_noise * self.protection.clip)
        total.div_(self.settings.batch_size)
        for parameter, part in zip(self.trained.values(), total.split(numbers), strict=True):
            parameter.grad = part.view_as(parameter)
        self.step += 1
        mean: Tensor = loss / self.settings.batch_size
        return mean

    def _sum_of(self, people: Iterator[Clipped], numbers: int) -> Tensor:
        """Sum of a micro-batch's clipped gradients, and of its losses: [P + 1]."""
        found = next(iter(self.trained.values())).new_zeros(numbers + 1)
        for part in people:
            found[:-1].addmv_(part.rows.T, part.factors)
            found[-1].add_(part.loss)
        return found


def _chunks(batch: Batch, size: int) -> Sequence[Batch]:
    """The batch in parts of at most `size` people."""
    people = len(batch.x)
    if 0 < people <= size:
        return [batch]

    def part(value: Tensor | None, first: int) -> Tensor | None:
        return None if value is None else value[first : first + size]

    return [
        Batch(
            batch.x[first : first + size],
            part(batch.token_valid, first),
            {name: part(value, first) for name, value in batch.draws.items()},
        )
        for first in range(0, people, size)
    ]
