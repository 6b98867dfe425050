"""What a study under ``protect: dp`` has to be, told when its settings are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainjepa_core.privacy.settings import require_central, require_own_losses, require_private
from brainjepa_core.wire.protection import NONE, SECURE_SUM

if TYPE_CHECKING:
    from brainjepa_server.settings import StudySettings


def require_accounted(study: StudySettings) -> None:
    """Refuse a study under differential privacy of which something is counted by no budget.

    Raises
    ------
    ValueError
        Naming the setting.
    """
    privacy = study.privacy
    if (study.protect == "dp") != (privacy is not None):
        word = SECURE_SUM if study.sums else NONE
        found = "none" if privacy is None else f"one with protect: {word}"
        raise ValueError(
            "expected a section privacy (epsilon or noise, clip) with protect: dp and nothing "
            f"else, found {found}; add the one, or take the other out"
        )
    if privacy is None:
        return
    require_private(study.pretraining.training)
    require_own_losses(study.pretraining.model_settings(rois=1))
    if study.start_from is None:
        raise ValueError(
            "expected start_from with protect: dp, found none; the sites' sums for a basis are "
            "not private, and with noise they are no basis of few people: start from a public "
            "model, or from an earlier study's, whose basis is taken"
        )
    if study.coskewness:
        raise ValueError(
            "expected coskewness: false with protect: dp, found true; sites are asked for no sums "
            "then, which no budget counts: leave it out"
        )
    if study.tasks:
        raise ValueError(
            f"expected no tasks with protect: dp, found {len(study.tasks)}; answers about tasks "
            "are counted by no budget: let each site evaluate the model for itself (brainjepa "
            "site evaluate)"
        )
    if privacy.is_central:
        _require_one_step(study)
        if study.sites:
            privacy.require_shared_by(len(study.sites))


def _require_one_step(study: StudySettings) -> None:
    """Refuse what sites or coordinator would do to weights, where sites send a gradient alone."""
    require_central(study.rounds.local_steps)
    chosen = study.aggregation
    wrong = {
        "aggregation.outer.kind: fedavg": chosen.outer.kind != "fedavg" and chosen.outer.kind,
        "aggregation.outer.lr: 1": chosen.outer.lr != 1 and f"{chosen.outer.lr:g}",
        "aggregation.proximal: 0": chosen.proximal > 0 and f"{chosen.proximal:g}",
        "no aggregation.target: local": chosen.target == "local" and chosen.target,
        "no aggregation.reset_optimizer": chosen.reset_optimizer and "true",
    }
    for expected, found in wrong.items():
        if found is not False:
            raise ValueError(
                f"expected {expected} where sites share the noise (privacy.where: central), found "
                f"{found}; the coordinator takes the step of training.optimizer itself: leave it "
                "out"
            )
