"""The page of a task: what each site tells, with an interval over sites, and who is left out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from page_text import unexplained
from scipy import stats

from brainjepa_core.pages.palette import INK
from brainjepa_server.record.history import RunHistory, write_history
from brainjepa_server.record.over_sites import OverSites
from brainjepa_server.reporting.pages import write_pages
from brainjepa_server.tasks.over_sites import verdict
from brainjepa_server.tasks.page import heat, strips, write_task_page
from brainjepa_server.tasks.report import CrossSiteMatrix, SiteScores, TaskReport
from brainjepa_server.tasks.report_file import write_task_report

SITES = ("Graz", "Lyon", "Oslo", "Turin")


def made(gain: float = 0.1, sites: tuple[str, ...] = SITES) -> TaskReport:
    report = TaskReport("dx", "kfold")
    for i, site in enumerate(sites):
        plain = 0.6 + 0.02 * i
        told = {"nothing": 0.5, "connectivity": plain, "mean": plain + gain + 0.01 * (-1) ** i}
        report.sites[site] = SiteScores(30, (10, 20), {m: {"auc": v} for m, v in told.items()})
    values = np.arange(16.0).reshape(4, 4) / 16
    values[1] = np.nan
    reasons = {"Lyon": "expected share_probe, found none"}
    report.matrices["mean"] = CrossSiteMatrix(
        SITES, {"auc": values}, dict.fromkeys(SITES, 20), reasons
    )
    report.left_out["scores"] = {"<b>Kiel</b>": "expected 20 people, found fewer"}
    return report


def scores(report: TaskReport):
    return {site: told.metrics for site, told in report.sites.items()}


def page_of(folder, report: TaskReport) -> str:
    path = folder / "task-dx.json"
    write_task_report(report, path, {"task": {"name": "dx"}, "penalty": 1.0})
    return unexplained(write_task_page(path).read_text())


def test_the_page_tells_what_the_file_holds(tmp_path):
    page = page_of(tmp_path, made())
    assert "The model tells more than connectivity, read from “mean”." in page
    assert "expected share_probe, found none" in page and "&lt;b&gt;Kiel&lt;/b&gt;" in page
    assert "ahead at 4 of 4 sites" in page and "<td>0.710</td>" in page
    assert page.count("<img") == 2 and "penalty" in page
    assert "with at least 120 people" in page  # to paste into a paper
    json.loads((tmp_path / "task-dx.json").read_text())


def test_co_skewness_is_shown_and_is_no_model():
    report = made(-0.1)
    for told in report.sites.values():
        told.metrics["coskewness"] = {"auc": told.metrics["connectivity"]["auc"] + 0.2}
    sentences = verdict(scores(report), "auc", "AUC")
    assert sentences[0] == "The model does not clearly tell more than connectivity."
    assert any("coskewness: AUC" in s and "ahead at 4 of 4 sites" in s for s in sentences)
    only = {
        site: {m: v for m, v in told.items() if m != "mean"}
        for site, told in scores(report).items()
    }
    assert verdict(only, "auc", "AUC")[0].startswith(
        "Whether the model tells more than connectivity is"
    )


def test_where_nobody_answers_the_page_says_so(tmp_path):
    page = page_of(tmp_path, TaskReport("dx", "kfold"))
    assert page.count("No site told its scores.") == 2 and "<img" not in page


def test_the_interval_over_sites_is_students():
    values = np.random.default_rng(0).normal(0.7, 0.1, 6)
    found = OverSites.of(list(values))
    naive = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((naive.low, naive.high))
    assert OverSites.of([0.5, 0.6]).low is None and str(OverSites.of([0.5, 0.6])) == "0.550"


@pytest.mark.parametrize(
    ("report", "first"),
    [
        (made(0.1), "The model tells more than connectivity, read from “mean”."),
        (made(0.0), "The model does not clearly tell more than connectivity."),
        (made(0.1, SITES[:2]), "The model does not clearly tell more than connectivity."),
    ],
)
def test_better_is_what_its_interval_says(report, first):
    assert verdict(scores(report), "auc", "AUC")[0] == first


def test_without_connectivity_nothing_is_compared():
    told = {"Graz": {"mean": {"auc": 0.7}}}
    assert verdict(told, "auc", "AUC") == [
        "Whether the model tells more than connectivity is not known.",
        "mean: AUC 0.700, 1 site.",
    ]


def test_pictures_hold_every_site():
    ax = strips(scores(made()), "auc", "AUC").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["nothing", "connectivity", "mean"]
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o") == 12
    drawn = heat(list(SITES), [[0.5, None, 0.7, 0.6]] * 4, "AUC").axes[0]
    assert [t.get_text() for t in drawn.texts[:4]] == ["0.50", "–", "0.70", "0.60"]
    assert drawn.texts[1].get_color() == INK  # on white


def test_all_pages_of_a_study_are_drawn_anew(tmp_path):
    write_history(tmp_path, RunHistory(name="s"))
    page_of(tmp_path, made())
    page = tmp_path / "task-dx.html"
    page.unlink()
    (tmp_path / "task-sex.json").write_text('{"rows": [{"model": 1}]}')
    report = write_pages(tmp_path).read_text()
    assert "Graz" in page.read_text() and not (tmp_path / "task-sex.html").exists()
    assert "task-sex.json beside this report cannot be read." in report
