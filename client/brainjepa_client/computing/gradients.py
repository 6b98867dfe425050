"""What a site gives to the consensus basis: its training people's summed connectivity."""

from __future__ import annotations

from brainjepa_client.settings import SiteSettings
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply


def gradients(settings: SiteSettings, training: Windows) -> Reply:
    """Reply to ``gradients``: sums over the training people.

    Parameters
    ----------
    settings : SiteSettings
    training : Windows
        Of the people outside the held-out fold.

    Returns
    -------
    Reply
        ``z_sum`` float64 [P] and ``pair_count`` int64 [P], both 0 for pairs that fewer people
        show than the policy asks for; ``subjects``, which `pair_count` tells anyway.
    """
    told = connectivity_sum(training).told(settings.policy.min_people_in_sum)
    arrays = told.to_arrays()
    sums = {name: arrays[name] for name in ("z_sum", "pair_count")}
    return Reply({"subjects": told.subjects}, sums)
