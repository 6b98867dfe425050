"""A task under secure sums: what is asked of the sites is as wide as what they answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from task_sites import AGE, SETTINGS

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.site_people import projected
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.tasks import summed_task
from brainjepa_server.tasks.asking import Asking
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask

NETWORKS = 17


@pytest.mark.parametrize("evaluated", [50, 500])
def test_features_are_as_many_as_sites_project_however_few_the_yardstick_reads(
    monkeypatch, evaluated
):
    told = SETTINGS.model_dump(mode="json")
    told["rounds"]["evaluate_people"] = evaluated
    settings, asked = type(SETTINGS).model_validate(told), []

    def sums(sites, question):
        asked.append(question.layout)
        raise QuorumMissed("nobody is here")

    monkeypatch.setattr(summed_task, "secure_sums", sums)
    task, report = StudyTask(task=AGE, pools=(HEADLINE,)), TaskReport("age", "kfold")
    basis = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    asking = Asking(SimpleNamespace(networks=NETWORKS), settings, {}, task, report)
    summed_task.summed_probes(asking, basis)
    pairs = np.zeros((5, NETWORKS * (NETWORKS + 1) // 2))
    at_a_site = projected(pairs, settings.assignment().features_summed).shape[1]
    assert asked[0][f"moments.{HEADLINE}.0.x_sum"][1] == (at_a_site,)
