"""Families of other papers, by three hospitals: resumed to the bit, exported, read and probed."""

from __future__ import annotations

import numpy as np
import pytest
from small_consortium import TOTAL, plan, run, same, weights

import brainjepa
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.model_methods import probe_methods
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.models.checkpoint import model_arrays, read_model, write_model
from brainjepa_core.models.registry import family_named
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_server import study as study_module
from brainjepa_server.record.history import read_history
from brainjepa_simulations.scenario import Scenario

AGE = {"phenotypes": [{"column": "age", "mean": 50.0, "sd": 20.0}]}
SIZES: dict[str, dict] = {
    "brainlm": {
        "patch": 4,
        "width": 8,
        "depth": 1,
        "heads": 2,
        "decoder_width": 4,
        "decoder_depth": 1,
        "decoder_heads": 2,
    },
    "brainmass": {"patch": 4, "depth": 1, "heads": 2, "inner": 8, "projection": 4},
    "csm": {"patch": 4, "width": 8, "depth": 1, "heads": 2, "fewest": 4},
    "brainnetcnn": {"patch": 4, "edges": 2, "nodes": 4, "graph": 4, **AGE},
    "brain_network_transformer": {"patch": 4, "width": 8, "heads": 2, "clusters": 3, **AGE},
    "braingnn": {"patch": 4, "channels": 4, "hidden": 8, **AGE},
}
CASES = [(family, recipe) for family in SIZES for recipe in family_named(family).settings.recipes]


def scenario(family: str, recipe: str = "default") -> Scenario:
    content = plan(3, 2)
    content["study"]["pretraining"] |= {
        "family": family, "recipe": recipe, "model": SIZES[family],
    }  # fmt: skip
    return Scenario.model_validate(content)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "recipe"), CASES)
def test_three_sites_learn_and_a_study_that_was_stopped_goes_on_to_the_bit(
    tmp_path, family, recipe, monkeypatch
):
    chosen = scenario(family, recipe)
    run(chosen, tmp_path / "straight")
    rounds = read_history(tmp_path / "straight").rounds
    assert len(rounds) == TOTAL // 2 and all(len(r.sites) == 3 for r in rounds)
    assert all(np.isfinite(r.loss) for r in rounds) and rounds[-1].yardstick
    found = weights(tmp_path / "straight")
    with monkeypatch.context() as patch:
        real, calls = study_module.write_round, []

        def stopping(*arguments, **named):
            calls.append(real(*arguments, **named))
            if len(calls) == 2:
                raise InterruptedError

        patch.setattr(study_module, "write_round", stopping)
        with pytest.raises(InterruptedError):
            run(chosen, tmp_path / "stopped")
    run(chosen, tmp_path / "stopped")
    assert same(weights(tmp_path / "stopped"), found)
    exported_and_read(tmp_path / "straight", found, tmp_path / "copy")
    probed(chosen, tmp_path / "straight", family)


def exported_and_read(study, found, copy) -> None:
    model, told = read_model(study / "final")
    write_model(copy, model, told)
    again, _ = read_model(copy)
    assert same({name: value.numpy() for name, value in model_arrays(again).items()}, found)
    embedder = brainjepa.load(copy)
    series = np.random.default_rng(0).standard_normal((8, 50)).astype(np.float32)
    series[3] = np.nan
    vector = embedder.embed(series, tr=2)
    there = np.delete(np.arange(8), 3)
    pairs = np.isfinite(vector)
    assert vector.shape == (28,) and pairs.sum() == len(there) * (len(there) - 1) // 2
    assert vector[pairs].std() > 0
    assert np.isfinite(embedder.embed(series, tr=2, pool=model.settings.published_pool)).all()


def probed(chosen: Scenario, study, family: str) -> None:
    stores = [ScanStore.open(path) for path in sorted((study / "stores").iterdir())]
    windows = Windows(stores, chosen.study.pretraining.windows)
    data = task_data(TaskSettings(name="age", column="age", kind="regression"), windows)
    split = splits_of(ProtocolSettings(kind="holdout", seeds=1), data)[0]
    model = read_model(study / "final")[0].eval()
    methods = probe_methods(family, model, windows, SignalReadOuts(windows))
    assert any("published probe" in method.name for method in methods)
    for method in methods:
        assert np.isfinite(method.predict(data, split)).all(), method.name
