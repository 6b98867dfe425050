"""What a site gives to the consensus: summed connectivity of its training people, and more."""

from __future__ import annotations

from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays
from brainjepa_core.machine.processors import usable_cores
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.site_sums.begun_sum import Sum
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import OF_COSKEWNESS, Reply

FEW = 4096  # people; a process takes some seconds to start, as long as it adds up a thousand


def gradients(
    settings: SiteSettings, training: Windows, *, alone: bool = True, coskewness: bool = False
) -> Reply:
    """Reply to ``gradients``: sums over the training people.

    Parameters
    ----------
    settings : SiteSettings
    training : Windows
        Of the people outside the held-out fold.
    alone : bool
        Whether the sums leave the site as they are, and not within a secure sum: then they count
        by rounded numbers of people.
    coskewness : bool
        Whether the study asks for co-skewness, too.

    Returns
    -------
    Reply
        ``z_sum`` float64 [P] and ``pair_count`` int64 [P], both 0 for pairs that fewer people
        show than the policy asks for; ``subjects``. Of co-skewness ``coskewness.products`` and
        ``coskewness.pair_count`` [P + R] likewise.
    """
    about = training, _processes(settings, training), require_going_on
    told = _told(connectivity_sum(*about), settings.policy, alone=alone)
    sent = _arrays(told)
    if coskewness:
        third = _told(coskewness_sum(*about), settings.policy, alone=alone)
        sent |= {OF_COSKEWNESS + name: array for name, array in _arrays(third).items()}
    return Reply({"subjects": told.subjects}, sent)


def _processes(settings: SiteSettings, training: Windows) -> int:
    """How many processes add people up: one of them has few before others have started."""
    if training.subjects < FEW:
        return 1
    return settings.threads or usable_cores()


def _told(exact: Sum, policy: PolicySettings, *, alone: bool) -> Sum:
    """What may leave of a sum; by itself the same means, as of rounded numbers of people."""
    told = exact.told(policy.min_people_in_sum)
    return told.rounded(policy.rounded) if alone else told


def _arrays(told: Sum) -> Arrays:
    arrays = told.to_arrays()
    return {name: arrays[name] for name in (told.OWN, "pair_count")}
