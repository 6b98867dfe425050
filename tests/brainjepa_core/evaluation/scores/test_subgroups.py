"""Groups of people: who is in them, their figures, and gaps that are not just chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_predictions import holdouts, predictions, sites_in_turn, task_data
from scipy.stats import kstest, pearsonr
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.scores.subgroups import groups_of, score_subgroups
from brainjepa_core.evaluation.tasks.settings import TaskData

TWO = ("control", "autism")


def with_facts(data: TaskData, column: str, values: list[object]) -> TaskData:
    return replace(
        data, facts=tuple({**f, column: v} for f, v in zip(data.facts, values, strict=True))
    )


def test_ages_fall_into_bands_or_else_into_thirds():
    data = task_data(people=60)
    ages = np.array([facts["age"] for facts in data.facts])
    found = groups_of(data, "age")
    assert list(found) == ["age=below 30", "age=30 to 45", "age=45 to 60", "age=60 or more"]
    assert np.array_equal(found["age=30 to 45"], (ages >= 30) & (ages < 45))
    young = with_facts(data, "age", list(ages / 10))
    assert [int(chosen.sum()) for chosen in groups_of(young, "age").values()] == [20, 20, 20]


def test_values_are_groups_and_the_unknown_are_in_none():
    data = task_data(people=8)
    sex = with_facts(data, "sex", ["F", "M", None, "n/a", "F", float("nan"), "", "M"])
    found = groups_of(sex, "sex")
    assert {name: np.flatnonzero(chosen).tolist() for name, chosen in found.items()} == {
        "sex=F": [0, 4],
        "sex=M": [1, 7],
    }
    assert list(groups_of(with_facts(data, "arm", [1, 2] * 4), "arm")) == ["arm=1", "arm=2"]
    assert groups_of(data, "ancestry") == {}
    everybody = np.sum(list(groups_of(data, "site").values()), axis=0)
    assert (everybody == 1).all()


def test_figures_are_those_of_the_groups_people():
    data = task_data(TWO, people=90, subgroups=("sex",))
    told = predictions("probe", data, sites_in_turn(data))
    rows, gaps = score_subgroups(data, [told], "sites", draws=200)
    order = np.argsort(np.concatenate([split.test for split in told.splits]))
    margin = (np.concatenate(told.values) @ [-1, 1])[order]
    areas = {}
    for group, chosen in groups_of(data, "sex").items():
        areas[group] = roc_auc_score(data.target[chosen], margin[chosen])
        row = next(row for row in rows if (row.group, row.metric) == (group, "auc"))
        assert row.mean == pytest.approx(areas[group]) and row.n == chosen.sum()
        assert row.low < row.mean < row.high
    gap = next(gap for gap in gaps if gap.metric == "auc")
    assert gap.gap == pytest.approx(abs(areas["sex=F"] - areas["sex=M"]))
    assert areas[gap.best] > areas[gap.worst]


def test_predictions_of_all_repetitions_are_scored_together():
    data = task_data(people=60, subgroups=("sex",))
    told = predictions("probe", data, holdouts(data, 3))
    rows, _ = score_subgroups(data, [told], "holdout", draws=10)
    tested = np.concatenate([split.test for split in told.splits])
    assert len(np.unique(tested)) < len(tested)
    for group, chosen in groups_of(data, "sex").items():
        truth, values = data.target[tested], np.concatenate(told.values)
        expected = pearsonr(truth[chosen[tested]], values[chosen[tested]]).statistic
        row = next(row for row in rows if (row.group, row.metric) == (group, "r"))
        assert row.mean == pytest.approx(expected)
        assert row.n == len(np.unique(tested[chosen[tested]]))


def test_too_few_people_have_no_figure_and_no_part_in_gaps():
    data = task_data(TWO, people=90, subgroups=("ancestry",))
    data = with_facts(data, "ancestry", ["A"] * 42 + ["B"] * 39 + ["C"] * 9)
    told = predictions("probe", data, sites_in_turn(data))
    rows, gaps = score_subgroups(data, [told], "sites", draws=20)
    rare = [row for row in rows if row.group == "ancestry=C"]
    assert {row.n for row in rare} == {9} and all(np.isnan(row.mean) for row in rare)
    assert all("ancestry=C" not in (gap.best, gap.worst) for gap in gaps) and len(gaps) == 2
    # Enough people, but of one class.
    one = replace(data, target=np.where(np.arange(90) < 42, 0.0, data.target))
    rows, gaps = score_subgroups(one, [told], "sites", draws=20)
    figures = {row.metric: row.mean for row in rows if row.group == "ancestry=A"}
    assert np.isnan(figures["auc"]) and np.isfinite(figures["balanced accuracy"])
    assert [gap.metric for gap in gaps] == ["balanced accuracy"]


def unfair(data: TaskData, told: Predictions) -> Predictions:
    """Noise instead of predictions for one sex."""
    rng = np.random.default_rng(9)
    women = np.array([facts["sex"] == "F" for facts in data.facts])
    values = [
        np.where(women[split.test, None], rng.normal(size=old.shape), old)
        for split, old in zip(told.splits, told.values, strict=True)
    ]
    return replace(told, model="unfair", values=values)


def test_a_gap_stands_beside_what_chance_does():
    data = task_data(TWO, people=200, subgroups=("sex",))
    fair = predictions("fair", data, sites_in_turn(data), knows=2.0)
    _, gaps = score_subgroups(data, [fair, unfair(data, fair)], "sites", draws=300)
    found = {gap.model: gap for gap in gaps if gap.metric == "auc"}
    assert found["unfair"].worst == "sex=F" and found["unfair"].p < 0.01
    assert found["unfair"].low > 0.2 > found["unfair"].chance > 0
    assert found["fair"].p > 0.05 and found["fair"].gap < 0.15


def test_an_error_is_best_where_it_is_least():
    data = task_data(people=90, subgroups=("site",))
    _, gaps = score_subgroups(data, [predictions("p", data, sites_in_turn(data))], "sites", draws=9)
    rows, _ = score_subgroups(data, [predictions("p", data, sites_in_turn(data))], "sites", draws=9)
    errors = {row.group: row.mean for row in rows if row.metric == "mae"}
    gap = next(gap for gap in gaps if gap.metric == "mae")
    assert (gap.best, gap.worst) == (min(errors, key=errors.get), max(errors, key=errors.get))
    assert gap.gap == pytest.approx(errors[gap.worst] - errors[gap.best])


@pytest.mark.slow
def test_p_of_gaps_is_uniform_where_groups_do_not_differ():
    p = []
    for seed in range(300):
        data = task_data(TWO, people=90, seed=seed, subgroups=("site",))
        told = predictions("probe", data, sites_in_turn(data), seed=10_000 + seed)
        _, gaps = score_subgroups(data, [told], "sites", draws=1, seed=seed)
        p += [gap.p for gap in gaps if gap.metric == "auc"]
    assert kstest(p, "uniform").pvalue > 0.01
