"""Figures are those of pooled predictions; draws are those of people with all they were told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_predictions import holdouts, predictions, sites_in_turn, task_data
from sklearn.metrics import mean_absolute_error, roc_auc_score

from brainjepa_core.evaluation.scores import resampling
from brainjepa_core.evaluation.scores.resampling import resamples, score_models
from brainjepa_core.evaluation.tasks.protocols import Split

TWO = ("control", "autism")


def test_splits_of_a_repetition_are_scored_together():
    data = task_data(TWO)
    splits = sites_in_turn(data, 0) + sites_in_turn(data, 1)
    told = predictions("probe", data, splits)
    found = score_models(data, [told], draws=10)["probe"]["auc"]
    expected = []
    for repetition in (0, 1):
        chosen = [i for i, split in enumerate(splits) if split.repetition == repetition]
        truth = np.concatenate([data.target[splits[i].test] for i in chosen])
        scores = np.concatenate([told.values[i] for i in chosen])
        expected.append(roc_auc_score(truth, scores[:, 1] - scores[:, 0]))
    assert found.repetitions == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.sd == pytest.approx(np.std(expected, ddof=1))
    assert found.n == len(data)


def test_with_one_repetition_the_spread_is_that_of_splits():
    data = task_data(TWO)
    told = predictions("probe", data, sites_in_turn(data))
    found = score_models(data, [told], draws=10)["probe"]["auc"]
    areas = [
        roc_auc_score(data.target[split.test], values[:, 1] - values[:, 0])
        for split, values in zip(told.splits, told.values, strict=True)
    ]
    assert found.sd == pytest.approx(np.std(areas, ddof=1))


def test_a_draw_takes_people_with_their_predictions_of_all_repetitions():
    data = task_data()
    splits = holdouts(data)
    told = predictions("probe", data, splits)
    found = score_models(data, [told], draws=5, seed=3)["probe"]["mae"]
    people = np.unique(np.concatenate([split.test for split in splits]))
    assert found.n == len(people)
    (weights,) = resamples(np.zeros(len(people)), 5, 3)
    for draw, counts in zip(found.draws, weights, strict=True):
        count = dict(zip(people.tolist(), counts.astype(int), strict=True))
        errors = [
            mean_absolute_error(
                data.target[split.test], values, sample_weight=[count[i] for i in split.test]
            )
            for split, values in zip(splits, told.values, strict=True)
        ]
        assert draw == pytest.approx(np.mean(errors))


def test_the_interval_is_that_of_theory():
    """The error of a mean of n values is their standard deviation over the root of n."""
    data = task_data(people=400)
    told = predictions("probe", data, sites_in_turn(data))
    found = score_models(data, [told])["probe"]["mae"]
    errors = np.concatenate(
        [np.abs(v - data.target[s.test]) for s, v in zip(told.splits, told.values, strict=True)]
    )
    half = 1.96 * errors.std() / np.sqrt(400)
    assert found.interval == pytest.approx((errors.mean() - half, errors.mean() + half), rel=0.02)


def test_draws_keep_the_classes_and_are_a_function_of_the_seed(monkeypatch):
    strata = np.array([0, 1, 1, 0, 1, 1, 2])
    monkeypatch.setattr(resampling, "CELLS", 7 * 4)
    chunks = list(resamples(strata, 10, 5))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    weights = np.concatenate(chunks)
    for stratum, size in ((0, 2), (1, 4), (2, 1)):
        assert (weights[:, strata == stratum].sum(1) == size).all()
    assert np.array_equal(weights, np.concatenate(list(resamples(strata, 10, 5))))
    assert not np.array_equal(weights, np.concatenate(list(resamples(strata, 10, 6))))


def test_draws_of_a_small_class_always_hold_it():
    """Two of sixty: drawn from all, one draw in eight would lack them and have no AUC."""
    data = task_data(TWO)
    data = replace(data, target=(np.arange(60) < 2).astype(float))
    split = Split("all", 0, np.arange(60), np.empty(0, np.int64), np.arange(60))
    told = predictions("probe", data, [split])
    assert np.isfinite(score_models(data, [told], draws=300)["probe"]["auc"].draws).all()


REGRESSION = ("mse", "mae", "standardised mse", "r", "r2")


def test_within_sites_is_told_where_the_task_asks_for_it():
    data = task_data(within_site=True)
    found = score_models(data, [predictions("probe", data, holdouts(data))], draws=5)["probe"]
    assert set(found) == {
        *REGRESSION, *(f"{name} within site" for name in REGRESSION),
    }  # fmt: skip
    data = task_data(TWO, within_site=True)
    found = score_models(data, [predictions("probe", data, holdouts(data))], draws=5)["probe"]
    assert "auc within site" in found and "f1 within site" not in found


def test_the_auc_of_classes_is_told_within_sites_wherever_there_are_several():
    data = task_data(TWO)
    told = predictions("probe", data, sites_in_turn(data))
    found = score_models(data, [told], draws=5)["probe"]
    shifted = replace(  # every site's scores on a level of its own
        told, values=[v + 9.0 * i * np.array([-1, 1]) for i, v in enumerate(told.values)]
    )
    after = score_models(data, [shifted], draws=5)["probe"]
    assert after["auc within site"].mean == pytest.approx(found["auc within site"].mean)
    assert after["auc"].mean < found["auc"].mean
    one = replace(data, sites=np.full(len(data), "here"))
    assert "auc within site" not in score_models(one, [told], draws=5)["probe"]


def test_shuffled_labels_are_at_chance():
    data = task_data(TWO, people=300)
    told = predictions("probe", data, sites_in_turn(data), knows=2.0)
    shuffled = replace(data, target=np.random.default_rng(0).permutation(data.target))
    low, high = score_models(shuffled, [told])["probe"]["auc"].interval
    assert low < 0.5 < high and high - low < 0.15
    assert score_models(data, [told])["probe"]["auc"].mean > 0.85


def test_what_does_not_fit_is_told():
    data = task_data(TWO)
    splits = sites_in_turn(data)
    good = predictions("probe", data, splits)
    with pytest.raises(ValueError, match="task diagnosis: expected one or more models with diff"):
        score_models(data, [good, good])
    with pytest.raises(ValueError, match="found that other differs from probe"):
        score_models(data, [good, predictions("other", data, splits[:2])])
    with pytest.raises(ValueError, match=r"expected predictions of shape \(\d+, 2\) of probe in"):
        score_models(data, [replace(good, values=[v[:, 0] for v in good.values])])
    values = [np.where(v > 1, np.nan, v) for v in good.values]
    with pytest.raises(ValueError, match=r"found \d+ of \d+ that are not by probe in without"):
        score_models(data, [replace(good, values=values)])
    twice = [*splits, replace(splits[0], name="again")]
    with pytest.raises(ValueError, match="at most once in repetition 0, found"):
        score_models(data, [predictions("probe", data, twice)])
