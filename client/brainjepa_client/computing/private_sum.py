"""A private round whose noise sites share: one step's clipped gradients, summed, with noise.

No weights are trained here and nothing is kept: the coordinator takes the optimiser's step from the
sum over sites, which is all that it sees.
"""

from __future__ import annotations

import torch

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.round_model import model_of
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.privacy.shared_noise import GradientCode, rounded_sums
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply, Request


def private_sum(
    settings: SiteSettings,
    windows: Windows,
    request: Request,
    private: PrivateRound,
    processes: Processes = ALONE,
) -> Reply:
    """Reply to ``train`` of a study with ``where: central``, before it is masked.

    Parameters
    ----------
    settings : SiteSettings
    windows : Windows
        Of the people outside the held-out fold.
    request : Request
        With ``basis`` and the round's global weights.
    private : PrivateRound
    processes : Processes
        That share the step's micro-batches; the first one answers.

    Returns
    -------
    Reply
        uint32 arrays of the trained parameters, and the number of steps.

    Raises
    ------
    Refusal
        If the weights do not fit, or the noise is finer than the integers.
    """
    assignment = request.assignment
    device = torch.device(settings.device)
    model = model_of(request, len(windows.atlas)).to(device)
    training = assignment.pretraining.training
    roster = Contracts(settings.state).find(assignment.contract).contract.roster
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    try:
        code = GradientCode(shapes, private.protection, training.batch_size, len(roster))
    except ValueError as error:
        raise Refusal(str(error)) from error
    (batches,) = private.batches(windows, model, assignment, processes.parts())
    sums = rounded_sums(model, training, code, batches, device, settings.computing, processes)
    vector = code.noised(sums, private.sampling.secret, assignment.first_step)
    return Reply({"steps": assignment.steps}, vector)
