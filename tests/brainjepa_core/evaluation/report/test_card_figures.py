"""An evaluation's figures in the card of the model that it judged, and of no other."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import small_model

from brainjepa_core.evaluation.report.card_figures import figures_of
from brainjepa_core.evaluation.scores.results import Comparison, Results, Row, write_results
from brainjepa_core.models.checkpoint import model_digest
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.sharing.card import Figure
from brainjepa_core.origin import claim_folder

FACTS = "age", "leave_one_site_out"
PROBE, FC, RANDOM = "mine: probe", "FC correlation + ridge", "random weights: probe"


def row(model: str, metric: str, mean: float) -> Row:
    return Row(model, *FACTS, metric, mean, 0.1, mean - 0.1, mean + 0.1, 687)


def less(model: str, against: str, metric: str, value: float) -> Comparison:
    return Comparison(model, against, *FACTS, metric, value, value - 0.1, value + 0.1, 0.2, 0.3)


RESULTS = Results(
    rows=tuple(
        row(model, metric, mean)
        for model, mean in ((PROBE, 0.6), ("mine: latent connectivity", 0.5), (FC, 0.5),
                            (RANDOM, 0.4), ("theirs: probe", 0.9))
        for metric in ("r", "mae", "r within site")
    ),
    comparisons=(
        less(PROBE, FC, "r within site", 0.1), less(PROBE, RANDOM, "r within site", 0.2),
        less(PROBE, FC, "r", 0.3), less("theirs: probe", FC, "r within site", 0.4),
    ),
    yardsticks=(row(PROBE, "r of 50 labels", 0.2),),
)  # fmt: skip


def evaluation(folder: Path, model: BrainModel, results: Results = RESULTS, **task: object) -> Path:
    write_results(folder, results)
    facts = {"kind": "regression", "within_site": True, **task}
    judged = [["theirs", "0" * 64], ["mine", model_digest(model)]]
    claim_folder(folder, {"task": facts, "models": judged}, ())
    return folder


@pytest.fixture
def model(tmp_path) -> BrainModel:
    return small_model(tmp_path / "run").model


def test_the_metric_that_a_task_is_judged_by_with_what_the_model_has_above_others(model, tmp_path):
    found = figures_of(evaluation(tmp_path / "eval", model), model)
    metric = "r within site"
    values = [(f.model, f.metric, f.value, f.low, f.high, f.people) for f in found.figures]
    assert values == [
        (PROBE, metric, 0.6, pytest.approx(0.5), pytest.approx(0.7), 687),
        (FC, metric, 0.5, pytest.approx(0.4), pytest.approx(0.6), 687),
        (RANDOM, metric, 0.4, pytest.approx(0.3), pytest.approx(0.5), 687),
        (PROBE, f"{metric} above {FC}", 0.1, pytest.approx(0.0), pytest.approx(0.2), None),
        (PROBE, f"{metric} above {RANDOM}", 0.2, pytest.approx(0.1), pytest.approx(0.3), None),
    ]
    assert found.own == {PROBE} and found.whose == "687 people, leave_one_site_out"
    assert figures_of(tmp_path / "eval" / "results.json", model) == found
    plain = figures_of(evaluation(tmp_path / "plain", model, within_site=False), model)
    assert [f.metric for f in plain.figures] == ["r", "r", f"r above {FC}"]


def test_what_is_undefined_is_not_known(model, tmp_path):
    gone = replace(row(PROBE, "r within site", 0.1), mean=math.nan, low=math.nan, high=math.nan)
    found = figures_of(evaluation(tmp_path / "eval", model, Results(rows=(gone,))), model)
    assert found.figures == (Figure(PROBE, "age", "r within site", None, None, None, 687),)


def test_an_evaluation_of_other_weights_is_refused(model, tmp_path):
    folder = evaluation(tmp_path / "eval", model)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.raises(ValueError) as error:
        figures_of(folder, model)
    assert str(error.value) == (
        "expected an evaluation of this model, found one of 'mine', 'theirs' with other weights in "
        "'eval'; judge this one (brainjepa evaluate --checkpoint), or leave --results out"
    )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("origin.json", None, "found no such file for origin.json in 'eval'; give what `brainjepa"),
        ("results.json", None, "found no such file for results.json in 'eval'; give what"),
        ("results.json", "{", r"found damaged JSON \(line 1\) for results.json in 'eval'"),
        ("results.json", "[]", "expected figures of 'mine' in results.json, found none in 'eval'"),
        ("results.json", '[{"model": "mine: probe"}]', "found another form at '0.task' in 'eval'"),
        ("comparisons.json", "7", "expected the table of an evaluation in comparisons.json, found"),
        ("origin.json", "[1]", "whose origin.json has the task and the models that were judged"),
        ("origin.json", '{"models": [["mine", 3]]}', "has the task and the models"),
    ],
)
def test_a_folder_that_is_none_says_what_is_missing(model, tmp_path, name, content, told):
    folder = evaluation(tmp_path / "eval", model)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=told):
        figures_of(folder, model)


def test_an_evaluation_of_no_model_says_so(model, tmp_path):
    folder = evaluation(tmp_path / "eval", model)
    origin = json.loads((folder / "origin.json").read_text())
    (folder / "origin.json").write_text(json.dumps({**origin, "models": []}))
    with pytest.raises(ValueError, match="found one of no model in 'eval'; judge this one"):
        figures_of(folder, model)
