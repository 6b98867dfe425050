"""The bar on real data: what read-outs of signals, and of a network before its first step, tell."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose
from shared_data import shared

from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.readout_methods import latent_methods, signal_methods
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import score_models
from brainjepa_core.evaluation.tasks.protocols import splits_of
from brainjepa_core.evaluation.tasks.settings import load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import consensus_basis

CC200 = slice(200)  # the archives' first ROIs


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "learning" / "readouts.py"
    spec = importlib.util.spec_from_file_location("bench_readouts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_untrained_network_has_the_rows_of_connectivity_and_passes_the_bar(bench, tmp_path):
    """312 people of twelve hospitals, each hospital told by the others."""
    source = shared("data", "abide")
    windows = bench.windows_of([source], tmp_path, CC200, PretrainingSettings())
    signals, people = SignalReadOuts(windows), range(windows.subjects)
    model = PretrainingSettings().new_model(consensus_basis(windows)).eval()
    latent = cached_embeddings(model, windows, people, (bench.READ,))[bench.READ]
    assert windows.subjects == 312
    assert_allclose(np.tanh(latent), np.tanh(signals.pairs), atol=1e-4)
    rows = [*signal_methods(signals), *latent_methods("model", latent, signals)]
    found = {}
    for name, metric in (("diagnosis", "auc"), ("age", "r within site")):
        data = task_data(load_task(name), windows)
        scores = score_models(data, predict_all(rows, data, splits_of(bench.PROTOCOL, data)), 1)
        found[name] = {row: metrics[metric].mean for row, metrics in scores.items()}
        for kind in ("connectivity", "log-connectivity"):
            for centred in ("", ", site-centred"):
                mine, theirs = f"model: latent {kind}{centred}", kind + centred
                assert abs(found[name][mine] - found[name][theirs]) <= 0.005
    diagnosis, age = found["diagnosis"], found["age"]
    assert diagnosis["model: probe"] >= 0.73 and age["model: probe"] >= 0.50
    assert diagnosis["connectivity 0.01-0.1 Hz, site-centred"] >= 0.77
    assert diagnosis["connectivity 0.01-0.1 Hz + log-connectivity, site-centred"] >= 0.77


def test_archives_of_one_name_are_one_hospital(bench, tmp_path):
    for number in range(2):
        source = tmp_path / f"source{number}"
        source.mkdir()
        people = np.array([f"p{number}{i}" for i in range(3)])
        series = np.random.default_rng(number).standard_normal((3 * 200, 12)).astype(np.float32)
        rois = np.array([f"roi{i}" for i in range(12)])
        np.savez(source / "NYU.npz", ts=series, lengths=np.full(3, 200), participant_id=people,
                 tr=2.0, roi=rois)  # fmt: skip
        lines = ["participant_id\tage", *(f"{person}\t30" for person in people)]
        (source / "participants.tsv").write_text("\n".join(lines) + "\n")
    sources = [tmp_path / "source0", tmp_path / "source1"]
    folder = tmp_path / "stores"
    folder.mkdir()
    windows = bench.windows_of(sources, folder, slice(10), PretrainingSettings())
    assert windows.subjects == 6 and len(windows.stores) == 1 and len(windows.atlas) == 10
    assert {p.records[0].phenotypes["age"] for p in windows.people} == {30.0}


def test_the_floor_counts_what_a_layer_multiplies(bench):
    """The published encoder's attention, counted by hand: 450 ROIs of 10 patches, 12 layers."""

    class Windows:
        def whole_scans(self, subject):
            return [(None, np.ones((1, 160), bool), np.ones((1, 450), bool))]

    class Model:
        class settings:
            patch, width, depth, mlp_ratio = 16, 768, 12, 4.0

    n, d = 4500, 768
    products = 2 * (n * d * 3 * d + n * d * d + 2 * n * n * d + 2 * n * d * 4 * d)
    assert bench.operations(Windows(), Model(), 0) == 12 * products
