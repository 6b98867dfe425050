"""A task over virtual sites: the same as pooled where that is claimed, and nobody is exposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from task_sites import AGE, SETTINGS, SEX, Consortium

from brainjepa_core.evaluation.common_probe import cross_fit, outcome_columns
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.sums.moments import fold_moments
from brainjepa_core.sums.rois import basis_hash
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import Counts
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    write_history,
)
from brainjepa_server.settings import RoundSettings
from brainjepa_server.tasks.evaluation import evaluate_finished
from brainjepa_server.tasks.settings import StudyTask

NAMES = ["site-01", "site-02", "site-03"]


@pytest.fixture(scope="module")
def consortium(tmp_path_factory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("consortium"))


@pytest.fixture(scope="module")
def sex(consortium):
    return consortium.evaluate(consortium.sites(), SEX, penalty=10.0)


@pytest.fixture(scope="module")
def age(consortium):
    return consortium.evaluate(consortium.sites(), AGE)


def pooled_fits(data, x, folds) -> list:
    return cross_fit(fold_moments(x, outcome_columns(data.target, len(data.classes)), folds, 3))


def test_the_probe_of_all_sites_is_the_pooled_one(consortium, sex, age):
    for task, report in ((SEX, sex), (AGE, age)):
        data, x, folds = consortium.pooled(task)
        found, expected = report.probes[HEADLINE]["ridge"], pooled_fits(data, x, folds)
        assert found.people == len(data) == 90 and report.left_out == {}
        np.testing.assert_allclose(found.probe.predict(x), expected.final.predict(x), atol=1e-6)
        for fit, other in zip(found.fits, expected.probes, strict=True):
            np.testing.assert_allclose(fit.predict(x), other.predict(x), atol=1e-6)
        for name, value in expected.metrics.items():
            assert found.metrics[name] == pytest.approx(value, abs=1e-6)


def test_metrics_of_the_pooled_predictions(consortium, sex, age):
    data, x, folds = consortium.pooled(AGE)
    fits = age.probes[HEADLINE]["ridge"].fits
    predicted = np.array([fits[k].predict(row)[0] for k, row in zip(folds, x, strict=True)])
    found = age.probes[HEADLINE]["ridge"].metrics
    assert found["r"] == pytest.approx(np.corrcoef(predicted, data.target)[0, 1], abs=1e-6)
    error = np.abs(predicted - data.target).mean()  # sites tell three digits
    assert found["mae"] == pytest.approx(error, abs=0.05)
    assert found["mse"] == pytest.approx(((predicted - data.target) ** 2).mean(), abs=1e-6)
    assert age.probes[HEADLINE]["ridge"].tested == 90
    data, x, folds = consortium.pooled(SEX)
    for probe in sex.probes[HEADLINE].values():
        scores = np.array([probe.fits[k].predict(r) for k, r in zip(folds, x, strict=True)])
        margin, hits = scores[:, 1] - scores[:, 0], scores.argmax(1) == data.target
        assert probe.metrics["auc"] == pytest.approx(roc_auc_score(data.target, margin), abs=0.005)
        assert probe.metrics["accuracy"] == pytest.approx(hits.mean(), abs=1e-3)  # three digits
        assert probe.tested == 90 and list(probe.sites) == NAMES
        for site, metrics in probe.sites.items():
            here = data.sites == site
            expected = roc_auc_score(data.target[here], margin[here])
            assert metrics["auc"] == pytest.approx(expected, abs=1e-3)


def test_newtons_steps_end_at_the_pooled_logistic_regression(consortium, sex):
    data, x, folds = consortium.pooled(SEX)
    found = sex.probes[HEADLINE]["logistic"]
    for k, fit in enumerate((*found.fits, found.probe)):  # of the last, nobody is left out
        rest = folds != k
        scaler = StandardScaler().fit(x[rest])
        pooled = LogisticRegression(C=0.1, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        pooled.fit(scaler.transform(x[rest]), data.target[rest])
        scores = fit.predict(x)
        expected = pooled.decision_function(scaler.transform(x))
        np.testing.assert_allclose(scores[:, 1] - scores[:, 0], expected, atol=1e-6)


def test_each_site_says_whether_the_model_helps_there(sex, age):
    for report, metric, nothing in ((sex, "auc", 0.5), (age, "mae", None)):
        assert list(report.sites) == NAMES
        for scores in report.sites.values():
            assert list(scores.metrics) == ["nothing", "connectivity", HEADLINE]
            assert scores.people == 30
            for metrics in scores.metrics.values():
                assert all(value == float(f"{value:.3g}") for value in metrics.values())
            if nothing is not None:
                assert scores.metrics["nothing"]["accuracy"] <= 0.6
            assert metric in scores.metrics[HEADLINE]
    assert sum(sex.sites["site-01"].classes) == 30 and age.sites["site-01"].classes == ()


def test_the_matrix_holds_each_probe_at_each_site(consortium, sex):
    data, x, folds = consortium.pooled(SEX)
    matrix = sex.matrices[HEADLINE]
    assert matrix.sites == tuple(NAMES) and matrix.reasons == {}
    assert matrix.people == dict.fromkeys(NAMES, 30)
    for row, source in enumerate(NAMES):
        here = data.sites == source
        moments = fold_moments(x[here], outcome_columns(data.target[here], 2), folds[here], 3)
        own = cross_fit(moments)
        for column, other in enumerate(NAMES):
            there = data.sites == other
            scores = own.final.predict(x[there])
            if row == column:
                pairs = zip(folds[there], x[there], strict=True)
                scores = np.array([own.probes[k].predict(r) for k, r in pairs])
            expected = roc_auc_score(data.target[there], scores[:, 1] - scores[:, 0])
            assert matrix.values["auc"][row, column] == pytest.approx(expected, abs=1e-3)


def test_sites_that_keep_their_probe_have_no_row_but_a_column(consortium):
    sites = consortium.sites("keeps", lambda number: {"share_probe": number != 1})
    matrix = consortium.evaluate(sites, AGE, parts=("matrix",)).matrices[HEADLINE]
    values = matrix.values["mae"]
    assert np.isnan(values[1]).all() and np.isfinite(np.delete(values, 1, axis=0)).all()
    assert list(matrix.reasons) == ["probe of site-02"]
    assert "(policy.share_probe)" in matrix.reasons["probe of site-02"]


def test_no_probe_at_all(consortium):
    sites = consortium.sites("none", lambda _: {"share_probe": False})
    matrix = consortium.evaluate(sites, AGE, parts=("matrix",)).matrices[HEADLINE]
    assert matrix.values == {} and len(matrix.reasons) == 3


def test_a_site_without_the_outcome_is_left_out_and_the_others_are_pooled(consortium):
    within = {"include": ({"column": "site", "one_of": ("site-01", "site-03")},)}
    task = TaskSettings.model_validate({**AGE.model_dump(), **within})
    report = consortium.evaluate(consortium.sites(), task, parts=("probe", "matrix"))
    data, x, folds = consortium.pooled(task)
    found, expected = report.probes[HEADLINE]["ridge"], pooled_fits(data, x, folds)
    assert found.people == len(data) == 60
    np.testing.assert_allclose(found.probe.predict(x), expected.final.predict(x), atol=1e-6)
    assert list(report.left_out["sums"]) == ["site-02"]
    assert "no people for task 'age', or too few" in report.left_out["sums"]["site-02"]
    values = report.matrices[HEADLINE].values["r"]
    assert np.isfinite(values[np.ix_([0, 2], [0, 2])]).all()
    assert np.isnan(values[1]).all() and np.isnan(values[:, 1]).all()


def test_floors_leave_people_out_of_sums_as_pooled_data_would(consortium):
    sites = consortium.sites("floors", lambda _: {"min_people_in_sum": 5})
    report = consortium.evaluate(sites, SEX, parts=("probe",))
    data, x, folds = consortium.pooled(SEX)
    groups = list(zip(data.sites, folds, data.target, strict=True))
    kept = np.array([groups.count(group) >= 5 for group in groups])
    assert 0 < kept.sum() < 90
    expected = cross_fit(
        fold_moments(x[kept], outcome_columns(data.target[kept], 2), folds[kept], 3)
    )
    found = report.probes[HEADLINE]["ridge"]
    assert found.people == kept.sum()
    np.testing.assert_allclose(found.probe.predict(x), expected.final.predict(x), atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"min_subjects": 27}, "(policy.min_subjects)"),
        ({"min_people_a_class": 20}, "(policy.min_people_a_class)"),
        ({"task_columns": ("age",)}, "lets tasks read age (policy.task_columns)"),
        ({"allow": ("describe",)}, "(policy.allow)"),
    ],
)
def test_refusals_are_reasons(consortium, policy, text):
    sites = consortium.sites("refuse-" + next(iter(policy)), lambda n: policy if n == 2 else {})
    report = consortium.evaluate(sites, SEX, parts=("probe",))
    assert report.probes[HEADLINE]["ridge"].people == 60
    assert text in report.left_out["sums"]["site-03"]


def test_a_site_counts_in_no_table_with_more_people_than_it_can_have(consortium):
    sites = consortium.sites()
    sites.counts = {name: Counts(30, 30) for name in sites.nodes} | {"site-02": Counts(5, 5)}
    report = consortium.evaluate(sites, SEX)
    text = "expected the 5 people that the site told of when it joined (rounded down: fewer than"
    told = {what: reasons for what, reasons in report.left_out.items() if "site-02" in reasons}
    assert {"scores", "sums"} < told.keys() and len(told) == 3  # and what the probe did there
    assert all(reasons["site-02"].startswith(text) for reasons in told.values())
    assert report.matrices[HEADLINE].reasons["scores at site-02"].startswith(text)
    assert "site-02" not in report.sites


def test_nobody_answers(consortium):
    report = consortium.evaluate(consortium.sites("silent", lambda _: {"allow": ()}), SEX)
    assert report.sites == report.probes == {} and report.rows() == []
    assert report.left_out["sums"]["all"] == "no site told sums of its people"


def test_covariates_are_adjusted_for_within_sites_only(consortium):
    task = AGE.model_copy(update={"covariates": ("sex",)})
    report = consortium.evaluate(consortium.sites(), task)
    assert list(report.sites) == NAMES and report.probes == report.matrices == {}
    assert "within sites only" in report.left_out["probe of all sites and matrix"]["all"]


@pytest.mark.parametrize(
    ("task", "choices", "text"),
    [
        (SEX.model_copy(update={"classes": None}), {}, "expected classes by name and values"),
        (AGE, {"pools": ("median",)}, "expected pools out of mean, std"),
        (
            AGE, {"protocol": ProtocolSettings(kind="leave_one_site_out")},
            "expected a protocol within a site .* found 'leave_one_site_out'",
        ),
        (
            AGE, {"protocol": ProtocolSettings(kind="brainmarks")},
            "found 'brainmarks'; choose one of these, by which each site splits its own people",
        ),
    ],
)  # fmt: skip
def test_what_sites_cannot_be_asked(consortium, task, choices, text):
    with pytest.raises(ValidationError, match=text):
        consortium.evaluate(consortium.sites(), task, **choices)


def test_newtons_steps_begin_anew_without_a_site_that_stops_half_way(consortium, monkeypatch):
    sites, asked = consortium.sites("stops"), []
    ask = type(sites).ask

    def stopping(self, kind, task, arrays, names, deadline):
        for answer in ask(self, kind, task, arrays, names, deadline):
            asked.append(task.probe.want)
            late = asked.count("newton") > 4 and answer.site == "site-02"
            reply = Reply(refusal="gone") if late and asked[-1] == "newton" else answer.reply
            yield replace(answer, reply=reply)

    monkeypatch.setattr(type(sites), "ask", stopping)
    report = consortium.evaluate(sites, SEX, penalty=10.0, parts=("probe",))
    assert list(report.probes[HEADLINE]) == ["ridge", "logistic"]
    what = f"logistic probe of all sites ({HEADLINE})"
    assert report.left_out[what] == {"site-02": "no usable reply: gone"}


def test_a_finished_study_is_asked_through_its_own_grid(consortium, tmp_path):
    model = SETTINGS.pretraining.new_model(consortium.gradients)
    model.load_state_dict(
        {**{k: torch.tensor(v) for k, v in consortium.weights.items()}, "basis": model.basis}
    )
    rois = tuple(consortium.windows.atlas.rois)
    told = provenance_of(model, rois)
    trained = dict.fromkeys(consortium.sites().nodes, SiteRecord())
    write_model(tmp_path / "final", model, told)
    for folder in (tmp_path, tmp_path / "other"):
        write_history(folder, RunHistory(rounds=[RoundRecord(number=1, sites=trained)]))
    settings = SETTINGS.model_copy(update={"rounds": RoundSettings(local_steps=2, quorum=1)})
    grid = consortium.grid("plain")
    found = evaluate_finished(grid, settings, tmp_path, StudyTask(task=AGE, parts=("probe",)))
    expected = consortium.evaluate(consortium.sites(), AGE, parts=("probe",))
    ridge = [report.probes[HEADLINE]["ridge"].metrics for report in (found, expected)]
    assert ridge[0] == ridge[1]
    write_model(tmp_path / "other" / "final", model, provenance_of(model, rois[::-1]))
    with pytest.raises(ValueError, match="expected sites with the 8 ROIs of the model's atlas 'a'"):
        evaluate_finished(grid, settings, tmp_path / "other", StudyTask(task=AGE))


def provenance_of(model: BrainModel, rois: tuple[str, ...]) -> Provenance:
    """Of a model whose basis has these rows."""
    hashed = basis_hash(rois, model.basis.numpy())
    return Provenance(atlas="a", rois=rois, basis_hash=hashed, signals={})


def test_rows_have_the_keys_of_results(sex):
    rows = sex.rows()
    keys = {"model", "task", "protocol", "metric", "mean", "sd", "low", "high", "n", "unit"}
    assert all(row.keys() == keys for row in rows)
    found = {(row["model"], row["metric"]): row for row in rows}
    federated = found[f"federated ridge probe ({HEADLINE})", "auc"]
    assert federated["n"] == 90 and federated["sd"] is None
    aucs = [site.metrics["connectivity"]["auc"] for site in sex.sites.values()]
    assert found["connectivity, median of sites", "auc"]["mean"] == np.median(aucs)
    judged = [site["auc"] for site in sex.probes[HEADLINE]["ridge"].sites.values()]
    of_sites = found[f"federated ridge probe ({HEADLINE}), median of sites", "auc"]
    assert of_sites["mean"] == np.median(judged) and of_sites["n"] == federated["n"]
    row = found["connectivity at sites", "auc"]
    assert (row["mean"], row["sd"]) == (np.mean(aucs), np.std(aucs, ddof=1))


def test_one_unit_a_metric_whoever_tells_it(sex, age):
    """Sites and the common probe tell errors in years, never in spreads beside years."""
    units = {(row["metric"], row["unit"]) for row in age.rows()}
    assert units == {
        ("r", ""), ("r2", ""), ("mae", "years"), ("mse", "years²"), ("standardised mse", "SD²"),
    }  # fmt: skip
    assert {row["unit"] for row in sex.rows()} == {""}
