"""Intervals over sites, by sites that are written out; scores centred by site."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_predictions import predictions, sites_in_turn, task_data
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.scores.pooled import Pooled
from brainjepa_core.evaluation.scores.resampling import (
    LEAST_SITES,
    pooled_repetitions,
    resamples,
    score_models,
)
from brainjepa_core.evaluation.scores.statistics import evaluate_predictions

TWO = ("control", "autism")


def written_out(pool: Pooled, counts) -> Pooled:
    """The pool with each site as many times as it is drawn, every copy a site of its own."""
    parts, sites = [], []
    for site, count in enumerate(counts):
        for copy in range(int(count)):
            rows = np.flatnonzero(pool.sites == site)
            parts.append(rows)
            sites.append(np.full(len(rows), 100 * copy + site))
    rows = np.concatenate(parts)
    numbers = np.unique(np.concatenate(sites), return_inverse=True)[1]
    return Pooled(pool.rows[rows], pool.truth[rows], pool.values[rows], pool.unit[rows], numbers)


@pytest.mark.parametrize("classes", [TWO, ()])
def test_a_draw_of_sites_is_a_study_of_those_sites(classes):
    data = task_data(classes)
    data = replace(data, task=data.task.model_copy(update={"within_site": True}))
    told = predictions("probe", data, sites_in_turn(data))
    found = score_models(data, [told], draws=20, seed=4)["probe"]
    (pool,) = pooled_repetitions(data, told)
    (counts,) = resamples(np.zeros(len(np.unique(data.sites))), 20, 4)
    for draw, each in enumerate(counts):
        expected = written_out(pool, each).once()
        for metric, score in found.items():
            value = score.site_draws[draw]
            assert value == pytest.approx(expected[metric], nan_ok=True), metric


def test_of_two_sites_nothing_is_said():
    data = task_data(TWO)
    kept = np.unique(data.sites)[: LEAST_SITES - 1]
    data = replace(data, sites=np.where(data.sites == kept[0], kept[0], kept[-1]))
    told = predictions("probe", data, sites_in_turn(data))
    assert not len(score_models(data, [told], draws=10)["probe"]["auc"].site_draws)
    assert evaluate_predictions(data, [told], "kfold", draws=10).over_sites == ()


def test_scores_centred_by_site_do_not_ask_for_levels_to_agree():
    data = task_data(TWO)
    told = predictions("probe", data, sites_in_turn(data))
    level = {site: 50.0 * number for number, site in enumerate(np.unique(data.sites))}
    moved = [
        values + np.outer([level[site] for site in data.sites[split.test]], [0, 1])
        for split, values in zip(told.splits, told.values, strict=True)
    ]
    before, after = (
        score_models(data, [replace(told, values=values)], draws=2)["probe"]
        for values in (told.values, moved)
    )
    metric = "auc centred by site"
    assert after[metric].mean == pytest.approx(before[metric].mean)
    assert after["auc"].mean < before["auc"].mean - 0.05
    scores, truth = [], []
    for split, values in zip(told.splits, told.values, strict=True):
        one = values[:, 1] - values[:, 0]
        scores.append(one - one.mean())
        truth.append(data.target[split.test])
    area = roc_auc_score(np.concatenate(truth), np.concatenate(scores))
    assert before[metric].mean == pytest.approx(area)


def test_figures_and_differences_have_their_interval_over_sites():
    data = task_data(TWO)
    splits = sites_in_turn(data)
    told = [predictions(name, data, splits, k, i) for i, (name, k) in enumerate(
        {"FC": 1.0, "good": 3.0}.items())]  # fmt: skip
    found = evaluate_predictions(data, told, "leave_one_site_out", "FC", draws=300)
    figures = {(one.model, one.against, one.metric): one for one in found.over_sites}
    own, less = figures["good", "", "auc"], figures["good", "FC", "auc"]
    rows = {(row.model, row.metric): row.mean for row in found.rows}
    assert own.value == rows["good", "auc"] and own.low <= own.value <= own.high
    assert less.value == pytest.approx(rows["good", "auc"] - rows["FC", "auc"])
    assert less.low <= less.value <= less.high
    assert own.sites == len(np.unique(data.sites)) >= LEAST_SITES
