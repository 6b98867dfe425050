"""What the federation's model is ahead by at the sites, and how sure that is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from brainjepa_server.record.gains import FEWEST, gain, gains
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    RunHistory,
    YardstickRow,
    alone,
    read_history,
    write_history,
)

SITES = [f"site-{i:02d}" for i in range(1, 10)]


def row(model: str, values, outcome: str = "latents", **more) -> YardstickRow:
    told = values if isinstance(values, dict) else dict(zip(SITES, values, strict=False))
    return YardstickRow(model=model, pool="mean", outcome=outcome, r2=0.1, at_sites=told, **more)


@pytest.mark.parametrize("sites", [5, 9])
def test_the_interval_is_that_of_a_paired_t_test_over_sites(sites):
    rng = np.random.default_rng(sites)
    own, other = rng.normal(0.4, 0.1, sites), rng.normal(0.3, 0.1, sites)
    found = gain(row(FEDERATED, own), row(RANDOM, other))
    naive = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert found is not None and found.sites == sites and found.beside == RANDOM
    assert found.mean == pytest.approx((own - other).mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((naive.low, naive.high), abs=1e-12)


def test_it_covers_what_sites_gain_in_95_of_100_consortia():
    rng, hits, draws = np.random.default_rng(0), 0, 2000
    for own, other in rng.normal(0.3, 0.1, (draws, 2, 5)) + np.array([[0.05], [0.0]]):
        found = gain(row(FEDERATED, own), row(RANDOM, other))
        hits += found.low <= 0.05 <= found.high
    assert abs(hits / draws - 0.95) < 4 * np.sqrt(0.95 * 0.05 / draws)


def test_few_sites_have_a_mean_and_no_interval():
    found = gain(row(FEDERATED, [0.5] * (FEWEST - 1)), row(RANDOM, [0.1, 0.2, 0.3, 0.4]))
    assert (found.mean, found.low, found.high) == (pytest.approx(0.25), None, None)
    assert found.sites == FEWEST - 1 == 4


def test_sites_that_know_one_of_both_models_are_not_counted():
    own = row(FEDERATED, {"a": 0.5, "b": float("nan"), "c": 0.4, "d": 0.3})
    found = gain(own, row(RANDOM, {"a": 0.1, "b": 0.2, "c": None, "e": 0.9}))
    assert (found.mean, found.sites) == (pytest.approx(0.4), 1)
    assert gain(own, row(RANDOM, {"e": 0.9})) is None and gain(own, row(RANDOM, {})) is None
    assert gain(own, row(RANDOM, {"a": 0.1}, own_probes=True)) is None  # another way to R2


def test_each_shared_model_is_set_beside_the_federation_in_each_outcome():
    models = (FEDERATED, RANDOM, POOLED, START, alone("site-01"))
    rows = [row(m, [0.1 * i] * 5, o) for i, m in enumerate(models) for o in ("latents", "age")]
    found = list(gains(rows))
    assert [(g.beside, g.outcome) for g in found] == [
        (m, o) for m in (RANDOM, POOLED, START) for o in ("latents", "age")
    ]
    assert list(gains(rows[2:])) == []  # without the federation


def test_the_summary_holds_them_and_is_read_again(tmp_path):
    rows = [row(FEDERATED, np.arange(6) / 10), row(RANDOM, [0.0, 0.2, 0.1, 0.3, 0.3, 0.2])]
    history = RunHistory(name="s", baselines=rows)
    write_history(tmp_path, history)
    (told,) = json.loads((tmp_path / "summary.json").read_text())["gains"]
    assert told == history.gains[0].model_dump() and told["sites"] == 6
    assert told["low"] < told["mean"] < told["high"]
    again = read_history(tmp_path)
    assert again == history and again.gains == history.gains
    # Made from the rows: what somebody wrote into the file counts for nothing.
    summary = json.loads((tmp_path / "summary.json").read_text())
    summary["gains"] = "none"
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert read_history(tmp_path).gains == history.gains
