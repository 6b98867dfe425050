"""Whether a site computes as a study asks: judged before anything is computed."""

from __future__ import annotations

from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.privacy.settings import require_uncompiled
from brainjepa_core.wire.messages import Assignment


def require_exact_enough(site: SiteSettings, study: Assignment) -> None:
    """Refuse to train where the site's choices are outside of what the study accepts.

    Its devices have to share a step's micro-batches evenly.

    Raises
    ------
    Refusal
        Saying what the site's manager has to change.
    """
    try:
        site.computing.require_within(study.pretraining.training.tolerance)
        if study.privacy is not None:
            require_uncompiled(site.computing)
    except ValueError as error:
        raise Refusal(
            f"{error} (section computing of this site's YAML), or go on without this site"
        ) from error
    try:
        site.trainer.require_within(study.pretraining.training.tolerance)
        site.trainer.require_divides(study.pretraining.training.accumulation)
    except ValueError as error:
        raise Refusal(f"{error} (in this site's YAML), or go on without this site") from error
