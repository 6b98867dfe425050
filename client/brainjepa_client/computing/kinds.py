"""What answers need a model for: the same at the site's worker and in a job of its cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.together import trained_together
from brainjepa_client.computing.training import train
from brainjepa_client.guarding.policy import GB
from brainjepa_client.guarding.sizes import StudySize
from brainjepa_client.judging.yardstick import evaluate
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.signals.storing.kept_aligned import ALIGNED, KeptAligned
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import TRAIN, Assignment, Reply, Request


@dataclass(frozen=True)
class People:
    """Whom a request is about.

    Attributes
    ----------
    windows : Windows
        Of all people, n of them.
    folds : ndarray of int [n]
    learning : ndarray of int [people outside the held-out fold]
        Their places in `windows`.
    store : ScanStore
        Whose people they are.
    """

    windows: Windows
    folds: NDArray[np.int64]
    learning: NDArray[np.int64]
    store: ScanStore

    @property
    def training(self) -> Windows:
        """Of the people outside the held-out fold."""
        return self.windows.only(self.learning.tolist())


def people_of(
    settings: SiteSettings, store: ScanStore, assignment: Assignment, *, keeps: bool = True
) -> People:
    """The people of a store that a study is about, and their folds.

    Parameters
    ----------
    settings : SiteSettings
    store : ScanStore
    assignment : Assignment
    keeps : bool
        Whether their aligned scans are kept beside the site's state, where ``policy.max_disk_gb``
        leaves room beside the states of the study's rounds.
    """
    study = assignment.pretraining
    kept = _kept(settings, StudySize.of(study, len(store.atlas))) if keeps else None
    windows = study.windows_of([store], kept)
    folds = folds_of_windows(windows, study.training.seed, assignment.folds)
    return People(windows, folds, np.flatnonzero(folds != assignment.held_out_fold), store)


def _kept(settings: SiteSettings, size: StudySize) -> KeptAligned:
    room = max(0, int(settings.policy.max_disk_gb * GB) - size.disk)
    return KeptAligned(settings.state / ALIGNED, room)


def computed(
    settings: SiteSettings,
    people: People,
    request: Request,
    private: PrivateRound | None = None,
    processes: Processes = ALONE,
) -> Reply:
    """Reply to ``train`` or ``evaluate``, which was judged to be answered.

    Parameters
    ----------
    settings : SiteSettings
    people : People
    request : Request
    private : PrivateRound, optional
        Of a round under ``protect: dp``.
    processes : Processes
        That train together, where this is one of them.

    Raises
    ------
    Refusal
        As `train`, `trained_together`, `evaluate` and `evaluate_task` say.
    """
    if request.kind == TRAIN:
        if settings.devices:
            return trained_together(settings, request, people.store.fingerprint)
        if private is not None and private.protection.where == "central":
            # It needs cryptography, which is an extra.
            from brainjepa_client.computing.private_sum import private_sum

            return private_sum(settings, people.training, request, private, processes)
        return train(settings, people.training, request, private, processes)
    about = settings, people.windows, people.folds, request
    if request.assignment.probe is None:
        return evaluate(*about)
    # What tasks are compared with takes scikit-learn and nilearn: seconds of imports.
    from brainjepa_client.judging.task_evaluation import evaluate_task

    return evaluate_task(*about)
