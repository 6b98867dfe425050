"""A study that sums co-skewness: that of its people pooled, resumed, within secure sums, asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_consortium import NoTracker, prepare, run, scenario, training_people

from brainjepa_client.judging import task_evaluation
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_server import study as study_module
from brainjepa_server.combining.coskewness import directions_of
from brainjepa_server.rounds.received import RECEIVED
from brainjepa_server.study_folder import COSKEWNESS_FILE
from brainjepa_simulations.engines.engine import run_study
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.scenario import Scenario

AGE = {
    "task": {"name": "age", "column": "age", "kind": "regression"},
    "protocol": {"kind": "kfold", "seeds": 1, "folds": 2},
    "parts": ["scores"],
}


@pytest.fixture(scope="module", autouse=True)
def no_tracker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainjepa_server.study.StudyTracker", NoTracker)
        yield


def asking(sites: int, **study) -> Scenario:
    """One round, with co-skewness."""
    chosen = scenario(sites, 6)
    changed = chosen.study.model_copy(update={"coskewness": True})
    told = chosen.model_dump(exclude_none=True)
    told["study"] = {**changed.model_dump(exclude_none=True), **study}
    return Scenario.model_validate(told)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(asking(2, tasks=[AGE]), tmp_path_factory.mktemp("runs") / "plain")


def test_the_sum_is_that_of_all_training_people(plain):
    found = CoskewnessSum.load(plain / COSKEWNESS_FILE)
    pooled = coskewness_sum(training_people(asking(2), plain))
    assert_allclose(found.products, pooled.products, rtol=1e-9)
    assert np.array_equal(found.pair_count, pooled.pair_count)
    directions, expected = directions_of(plain), pooled.directions(3)
    assert_allclose(directions @ directions.T, expected @ expected.T, rtol=1e-9, atol=1e-9)


def test_sites_answer_once_with_both_sums(plain):
    lines = [json.loads(line) for line in (plain / RECEIVED).read_text().splitlines()]
    sums = [line for line in lines if line["kind"] == "gradients"]
    assert len(sums) == 2
    for line in sums:
        assert sorted(line["arrays"]) == [
            "coskewness.pair_count", "coskewness.products", "pair_count", "z_sum",
        ]  # fmt: skip


def test_scores_of_tasks_have_it_at_every_site(plain):
    report = json.loads((plain / "task-age.json").read_text())
    assert sorted(report["sites"]) == ["site-01", "site-02"]
    for told in report["sites"].values():
        assert list(told["metrics"]) == [
            "nothing", "connectivity", "coskewness", "network_covariance",
        ]  # fmt: skip
        assert np.isfinite(told["metrics"]["coskewness"]["r2"])
    assert "coskewness" in (plain / "task-age.html").read_text()


def test_sites_read_by_the_directions_that_the_coordinator_found(tmp_path, monkeypatch):
    given, real = [], task_evaluation.CoskewnessFeatures

    def features(windows, **choices):
        given.append(choices["directions"])
        return real(windows, **choices)

    monkeypatch.setattr(task_evaluation, "CoskewnessFeatures", features)
    run(asking(2, tasks=[AGE]), tmp_path)
    assert len(given) == 2 and all(np.array_equal(g, directions_of(tmp_path)) for g in given)


def test_one_site_is_local(tmp_path):
    run(asking(1), tmp_path)
    found = CoskewnessSum.load(tmp_path / COSKEWNESS_FILE)
    local = coskewness_sum(training_people(asking(1), tmp_path))
    assert np.array_equal(found.products, local.products)


def test_stopped_after_the_sums_and_resumed_it_has_the_same_file(plain, tmp_path, monkeypatch):
    chosen = asking(2, tasks=[AGE])
    with monkeypatch.context() as patch:
        patch.setattr(study_module, "write_day_one", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(chosen, tmp_path)
    kept = (tmp_path / COSKEWNESS_FILE).read_bytes()
    run(chosen, tmp_path)
    assert (tmp_path / COSKEWNESS_FILE).read_bytes() == kept
    one, other = (json.loads((f / "task-age.json").read_text()) for f in (plain, tmp_path))
    assert one["sites"] == other["sites"]


def test_a_task_is_not_asked_where_the_sum_is_gone_and_the_model_is_there(tmp_path):
    chosen = asking(2, tasks=[AGE])
    prepare(chosen, tmp_path)
    real = study_module.write_models

    def losing(folder, *rest):
        (folder / COSKEWNESS_FILE).unlink()
        real(folder, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "write_models", losing)
        with pytest.raises(ValueError, match=r"'age': expected the sum of the sites' co-skewness"):
            run_study("inprocess", chosen, tmp_path, len(make_sites(chosen, tmp_path)))
    assert (tmp_path / "final").exists()


def test_within_secure_sums_it_is_the_pooled_one_to_the_fixed_point(tmp_path):
    chosen = asking(4).protected("secure_sum")
    run(chosen, tmp_path)
    found = CoskewnessSum.load(tmp_path / COSKEWNESS_FILE)
    pooled = coskewness_sum(training_people(chosen, tmp_path))
    assert_allclose(found.products, pooled.products, rtol=1e-8)
    assert np.array_equal(found.pair_count, pooled.pair_count)
    directions, expected = directions_of(tmp_path), pooled.directions(3)
    assert_allclose(directions @ directions.T, expected @ expected.T, atol=1e-8)
    lines = [json.loads(line) for line in (tmp_path / RECEIVED).read_text().splitlines()]
    told = {name for line in lines if line["kind"] == "gradients" for name in line["arrays"]}
    assert not {name for name in told if name.startswith("coskewness")}  # but under masks


def test_without_the_setting_there_is_no_sum(tmp_path):
    run(scenario(2, 6), tmp_path)
    assert not (tmp_path / COSKEWNESS_FILE).exists()
    lines = [json.loads(line) for line in (tmp_path / RECEIVED).read_text().splitlines()]
    told = [set(line["arrays"]) for line in lines if line["kind"] == "gradients"]
    assert told == [{"pair_count", "z_sum"}] * 2
