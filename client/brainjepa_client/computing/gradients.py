"""What a site gives to the consensus basis: its training people's summed connectivity."""

from __future__ import annotations

import numpy as np

from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.machine.processors import usable_cores
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply

FEW = 4096  # people; a process takes some seconds to start, as long as it adds up a thousand


def gradients(settings: SiteSettings, training: Windows, *, alone: bool = True) -> Reply:
    """Reply to ``gradients``: sums over the training people.

    Parameters
    ----------
    settings : SiteSettings
    training : Windows
        Of the people outside the held-out fold.
    alone : bool
        Whether the sum leaves the site as it is, and not within a secure sum: then it counts by
        rounded numbers of people.

    Returns
    -------
    Reply
        ``z_sum`` float64 [P] and ``pair_count`` int64 [P], both 0 for pairs that fewer people
        show than the policy asks for; ``subjects``.
    """
    summed = connectivity_sum(training, _processes(settings, training), require_going_on)
    told = summed.told(settings.policy.min_people_in_sum)
    if alone:
        told = _rounded(told, settings.policy)
    arrays = told.to_arrays()
    sums = {name: arrays[name] for name in ("z_sum", "pair_count")}
    return Reply({"subjects": told.subjects}, sums)


def _processes(settings: SiteSettings, training: Windows) -> int:
    """How many processes add people up: one of them has few before others have started."""
    if training.subjects < FEW:
        return 1
    return settings.threads or usable_cores()


def _rounded(exact: ConnectivitySum, policy: PolicySettings) -> ConnectivitySum:
    """The same means, as of numbers of people that are rounded as in ``describe``."""
    counts = policy.rounded(exact.pair_count)
    return ConnectivitySum.from_arrays(
        exact.to_arrays()
        | {
            "z_sum": exact.z_sum * (counts / np.maximum(exact.pair_count, 1)),
            "pair_count": counts,
            "subjects": np.array(policy.rounded(exact.subjects)),
        }
    )
