"""What heads tell of people, window by window; and that it tells a trait from few labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_tasks import task_of

from brainjepa_core.evaluation.features.predicted_phenotypes import predicted_phenotypes
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.model_methods import probe_methods
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT = CohortSettings(
    sites=2, subjects_per_site=40, rois=12, networks=4, latents=3, frames=96, trait_effect=0.6,
    signal_share=0.5, missing_rois=1,
)  # fmt: skip
STUDY = PretrainingSettings(
    family="phenotype_heads",
    model={
        "width": 16, "depth": 1, "heads": 2, "patch": 8,
        "phenotypes": [
            {"column": f"latent_{i}", "mean": 0.0, "sd": 1.0} for i in (1, 2)
        ],
    },
    windows={"frames": 48},
    basis={"components": 3, "sparsity": 0.2},
    training={
        "batch_size": 16,
        "schedule": {"total_steps": 100, "warmup_steps": 10, "lr": 3e-3, "start_lr": 1e-4},
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Learned from 60 people; the last 20 are for the labels of others."""
    paths = write_cohort(COHORT, tmp_path_factory.mktemp("cohort"))
    windows = STUDY.windows_of([ScanStore.open(path) for path in paths])
    learned = windows.only(range(60))
    training = STUDY.new_training(consensus_basis(learned, 3, 0.2))
    for step in range(100):
        training.advance(batches_of_step(learned, training.model, STUDY.training, step))
    return windows, training.model.eval()


def test_outputs_are_the_mean_over_windows(trained):
    windows, model = trained
    found = predicted_phenotypes(model, windows)
    x, frames, rois = windows.full_windows(3)
    assert frames.all() and found.shape == (80, 2)
    valid = torch.from_numpy(np.repeat(rois, 6, axis=1))
    each = [
        model.outputs(torch.from_numpy(x[i : i + 1]), valid[i : i + 1]).detach()[0]
        for i in range(len(x))
    ]
    assert_allclose(found[3], torch.stack(each).mean(0), atol=1e-5)


def test_phenotypes_of_people_who_were_not_learned_from_are_told(trained):
    windows, model = trained
    found = predicted_phenotypes(model, windows)[60:]
    for number, name in enumerate(("latent_1", "latent_2")):
        truth = [person.records[0].phenotypes[name] for person in windows.people[60:]]
        assert np.corrcoef(found[:, number], truth)[0, 1] > 0.3


def test_a_row_of_the_table_reads_them(trained):
    windows, model = trained
    methods = probe_methods("federated", model, windows, SignalReadOuts(windows))
    row = next(m for m in methods if m.name == "federated: predicted phenotypes")
    y = np.array([person.records[0].phenotypes["latent_1"] for person in windows.people])
    few = Split("x", 0, np.arange(60, 68), np.zeros(0, np.int64), np.arange(68, 80))
    predicted = row.predict(task_of(3 * y + 10), few)
    assert predicted.shape == (12,) and np.corrcoef(predicted, y[68:])[0, 1] > 0.2
