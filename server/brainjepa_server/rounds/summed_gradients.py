"""A round whose noise sites share: one secure sum of clipped gradients, and the step from it.

The step is that of the recipe (optimiser, learning rate, weight decay, the teacher's momentum), so
that the study is one private training on all sites' people. What it is computed from is noised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.state import load_optimizer_arrays, optimizer_arrays
from brainjepa_core.pretraining.step import Training, trained_parameters
from brainjepa_core.privacy.accounting import Release
from brainjepa_core.privacy.shared_noise import GradientCode
from brainjepa_core.secure_sums.encoding.updates import l2_norm
from brainjepa_core.wire.messages import BASIS, TRAIN, told_round
from brainjepa_server.record.history import RoundRecord
from brainjepa_server.record.sum_records import SumRecord
from brainjepa_server.rounds.one_sum import Question, Summed
from brainjepa_server.rounds.retrying import SumLost
from brainjepa_server.rounds.secure_sums import clear_sums, secure_sums
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.rounds.summed import records_of
from brainjepa_server.settings import StudySettings
from brainjepa_server.starting import weights_of

Weights = dict[str, Float32]


class GivenGradient:
    """A step's gradient that is known beforehand, in the place of one of people.

    Parameters
    ----------
    gradient : mapping of str to ndarray of float64
        Of each trained parameter.
    """

    def __init__(self, model: BrainModel, gradient: Mapping[str, Float64]) -> None:
        self._model, self._gradient = model, gradient

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Set it; no loss is known."""
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                parameter.grad = torch.from_numpy(self._gradient[name].astype(np.float32))
        return torch.zeros(())


def gradient_round(
    sites: Sites,
    settings: StudySettings,
    number: int,
    weights: Weights,
    basis: Float32,
    model: BrainModel,
    moments: Arrays,
    heard: Callable[[str, str], None],
) -> tuple[Weights, RoundRecord, Arrays]:
    """Run a round.

    Parameters
    ----------
    sites : Sites
    settings : StudySettings
    number : int
        From 0.
    weights : dict of str to ndarray of float32
        Global weights at the start.
    basis : ndarray of float32 [R, m]
    model : BrainModel
        The study's, on the CPU; its weights are put in their place.
    moments : dict of str to ndarray of float32
        Of the optimiser after the round before; none before the first.
    heard : callable
        Called with each site's name as its masked answer comes, and of those that are gone again
        with the reason.

    Returns
    -------
    weights, record, moments

    Raises
    ------
    QuorumMissed
        If too few sites answered.
    SumLost
        If the sum is not one that sites can have: it is the only one of this round.
    """
    assert sites.folder is not None and sites.contract is not None
    clear_sums(sites.folder, number)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    code = _code(settings, shapes, len(sites.contract.roster))
    assignment, rounds = settings.assignment(number), settings.rounds
    arrays: Arrays = {**weights, BASIS: basis}
    question = Question(TRAIN, assignment, arrays, code.layout, rounds.quorum, rounds.deadline)
    (found,) = secure_sums(sites, question, lambda name: heard(name, ""))
    for site, reason in found.gone.items():
        heard(site, reason)
    try:
        mean = code.mean(found.total, len(found.alive))
    except ValueError as error:
        raise SumLost(str(error)) from error
    new, kept = _stepped(settings, number, weights, model, moments, mean)
    return new, _record(settings, number, weights, new, found), kept


def _code(
    settings: StudySettings, shapes: Mapping[str, tuple[int, ...]], sites: int
) -> GradientCode:
    """The one that sites have, by the contract."""
    privacy = settings.privacy
    assert privacy is not None and privacy.noise is not None and privacy.honest_sites is not None
    protection = privacy.protection(Release(noise=privacy.noise, honest_sites=privacy.honest_sites))
    return GradientCode(shapes, protection, settings.pretraining.training.batch_size, sites)


def _stepped(
    settings: StudySettings,
    number: int,
    weights: Weights,
    model: BrainModel,
    moments: Arrays,
    gradient: Mapping[str, Float64],
) -> tuple[Weights, Arrays]:
    """Weights and moments after the recipe's step number `number`."""
    given = {name: torch.tensor(value) for name, value in weights.items()}
    model.load_state_dict({**model.state_dict(), **given})
    recipe = settings.pretraining.training
    training = Training(model, recipe, gradient=GivenGradient(model, gradient))
    load_optimizer_arrays(training, {n: torch.tensor(value) for n, value in moments.items()})
    training.resume(number)
    training.advance([])
    if not all(torch.isfinite(p).all() for p in trained_parameters(model)):
        raise ValueError(
            f"expected finite weights after round {told_round(number)}, found NaN or infinity; "
            "lower the learning rate and continue from the last round"
        )
    new = {name: value.copy() for name, value in weights_of(model).items()}
    return new, {name: value.numpy().copy() for name, value in optimizer_arrays(training).items()}


def _record(
    settings: StudySettings, number: int, old: Weights, new: Weights, found: Summed
) -> RoundRecord:
    moved, length = l2_norm({name: new[name] - old[name] for name in new}), l2_norm(old)
    return RoundRecord(
        number=told_round(number),
        first_step=number,
        bytes_down=sum(one.bytes_down for one in found.told.values()),
        bytes_up=sum(one.bytes_up for one in found.told.values()),
        sites=records_of([found], 1),
        rejected=found.gone,
        summed=SumRecord(attempt=found.attempt + 1, norm=moved / length if length else math.nan),
    )
