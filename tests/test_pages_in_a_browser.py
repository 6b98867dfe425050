"""Every page in a real browser: axe, no horizontal scroll, no request; text in pictures.

Needs Chromium on the machine and the packages ``playwright`` and ``axe-playwright-python``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_predictions import predictions, sites_in_turn, task_data
from matplotlib.text import Text

from brainjepa_client.quality.page import write_quality
from brainjepa_client.quality.table import ScanReport
from brainjepa_core.atlas import load_atlas
from brainjepa_core.evaluation.report.clinical import calibration_figure, clinical_table
from brainjepa_core.evaluation.report.prediction_figures import truth_figure
from brainjepa_core.evaluation.report.result_page import TaskFacts, write_result_page
from brainjepa_core.evaluation.scores.statistics import evaluate_predictions
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pages import narrow
from brainjepa_core.pages.picture import CSS_PIXELS
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    Told,
    YardstickRow,
    write_history,
)
from brainjepa_server.reporting.report import BASIS, CONNECTIVITY, write_report
from brainjepa_server.tasks.page import write_task_page
from brainjepa_server.tasks.report import CrossSiteMatrix, SiteScores, TaskReport
from brainjepa_server.tasks.report_file import write_task_report
from brainjepa_simulations.attacks.attack import CONTRACT, NONE, Row
from brainjepa_simulations.attacks.bench import Found
from brainjepa_simulations.attacks.page import write_attacks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SITES = ("Graz", "Lyon", "Oslo")
SMALLEST = 9.0  # CSS pixels of text at 400
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONG = "a-very-long-name-without-any-place-to-break-it-as-files-have-them-" * 2


def study(folder: Path) -> list[Path]:
    atlas, rng = load_atlas(), np.random.default_rng(0)
    basis = ConsensusBasis(
        atlas.rois, rng.normal(size=(len(atlas), 4)), np.array([1, 0.9, 0.5, 0.2])
    )
    basis.save(folder / BASIS)
    total = ConnectivitySum(atlas.rois)
    total.add_scan(rng.normal(size=(len(atlas), 60)))
    total.save(folder / CONNECTIVITY)
    replies = {s: SiteRecord(loss=0.5, steps=5, seconds=2.0, share=7, drift=30.0) for s in SITES}
    rows = [
        YardstickRow(
            model=model,
            pool=pool,
            outcome=outcome,
            r2=r2,
            features=8,
            at_sites={f"site {i}": r2 + 0.02 * (i % 3) * r2 for i in range(6)},
        )
        for model, r2 in (("federated", 0.3), ("random weights", 0.1), ("Graz alone", 0.2))
        for pool in ("mean", "network_covariance")
        for outcome in ("the other half", "connectivity", "latents", "age within site")
    ]
    rounds = [
        RoundRecord(number=n, sites=replies, rejected={"Kiel": LONG}, yardstick=rows, seconds=9.0)
        for n in (1, 2, 3)
    ]
    history = RunHistory(
        name="pilot", settings={"floors": {"sites": 3}, LONG: LONG}, rounds=rounds, baselines=rows,
        told=dict.fromkeys(SITES, Told(people=30, scans=40)), contract="0" * 64,
        basis=BasisFacts(
            hash=basis.hash, eigenvalues=basis.eigenvalues, eigengaps=basis.eigengaps, sites=SITES,
            subjects=90,
        ),
    )  # fmt: skip
    write_history(folder, history)
    lines = [
        {"kind": "train", "step": "", "site": "Graz", "arrays": {"w": 999}, "refusal": ""},
        {"kind": "evaluate", "step": "", "site": "Lyon", "arrays": {}, "refusal": LONG},
    ]
    (folder / "received.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [write_report(folder), folder / "privacy.html"]


def task(folder: Path) -> list[Path]:
    report = TaskReport("dx", "kfold")
    for i, site in enumerate(SITES):
        told = {"connectivity": {"auc": 0.6 + i / 50}, "mean": {"auc": 0.7 + i / 40}}
        report.sites[site] = SiteScores(30, (10, 20), told)
    values = np.linspace(0.4, 0.9, 9).reshape(3, 3)
    report.matrices["mean"] = CrossSiteMatrix(SITES, {"auc": values}, dict.fromkeys(SITES, 9), {})
    report.left_out["scores"] = {"Kiel": LONG}
    write_task_report(report, folder / "task-dx.json", {"task": {"name": "dx"}})
    return [write_task_page(folder / "task-dx.json")]


def quality(folder: Path) -> list[Path]:
    atlas, rng = load_atlas(), np.random.default_rng(0)
    store = ScanStore.create(folder / "store", atlas)
    store.append(rng.normal(size=(len(atlas), 60)), subject="sub-0", tr=2.0)
    numbers = {"mean_fd": 0.2, "max_fd": 1.1, "censored": 0.1, "tsnr": 50.0, "tr": 2.0}
    numbers |= {"seconds": 300.0, "frames": 150.0, "missing_rois": 2.0, "dead_rois": 0.0}
    numbers |= {"fc_mean": 0.2, "coverage_mean": 0.9, "order_score": 0.6}
    good = ScanReport("sub-0", "", "task-rest", "included", numbers, (), "figures/0.png")
    good = replace(good, coverage=(0.5, *[1.0] * (len(atlas) - 1)))
    reports = [good, replace(good, subject="sub-1", status="excluded", reasons=(LONG,))]
    reports.append(ScanReport(LONG, "", "", "failed", {}, (LONG,)))
    rules = ExclusionSettings(mean_fd=0.5)
    return [write_quality(folder, "north", atlas, reports, rules, store, ratings={good.key: "bad"})]


def evaluation(folder: Path) -> list[Path]:
    data = task_data(("control", "autism"), people=90)
    splits = sites_in_turn(data)
    told = [predictions(name, data, splits, seed=i) for i, name in enumerate(("FC", "probe"))]
    results = evaluate_predictions(data, told, "sites", "FC", {}, draws=50)
    chances = [
        replace(one, values=[np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in one.values])
        for one in told
    ]
    calibrated = calibration_figure(data, chances, "FC")
    assert calibrated is not None
    pictures = {"What was predicted": truth_figure(data, told, "FC"), "Calibration": calibrated}
    table = clinical_table(data, chances)
    facts = TaskFacts.of(data, "sites", {LONG: 7}, {LONG: 1}, pictures, clinical=table)
    return [write_result_page(folder, results, [facts], reference="FC", subjects=["probe"])]


def attacks(folder: Path) -> list[Path]:
    rows = (Row("people found", NONE, 40.0), Row("people found", CONTRACT, 0.0, 0.0))
    auc = (Row("AUC by loss, a site's weights", NONE, 0.8), Row("AUC, sum", CONTRACT, 0.5, 0.6))
    found = [Found("folds", "Tries folds.", rows), Found("membership", "Tries people.", auc)]
    return [write_attacks(folder, "attacked", found)]


PAGES = {
    "study": study, "task": task, "quality": quality, "evaluation": evaluation, "attacks": attacks,
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    drive = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    with drive.sync_playwright() as play:
        running = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.parametrize("kind", PAGES)
def test_pages_are_accessible_fit_and_ask_for_nothing(browser, tmp_path, kind):
    from axe_playwright_python.sync_playwright import Axe

    for path in PAGES[kind](tmp_path):
        for width, scheme in ((w, s) for w in (1280, 400) for s in ("light", "dark")):
            size = {"width": width, "height": 900}
            context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
            page, asked = context.new_page(), []
            page.on("request", lambda one, asked=asked: asked.append(one.url))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            where = f"{path.name} at {width}, {scheme}"
            broken = [
                (one["id"], one["nodes"][0]["html"][:100])
                for one in Axe().run(page).response["violations"]
            ]
            assert broken == [], where
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, where
            if width == 1280:  # a table of many columns is seen whole, without scrolling
                cut = page.evaluate(
                    "[...document.querySelectorAll('.many, .sorted')]"
                    ".filter(t => t.scrollWidth > t.clientWidth).map(t => t.innerText)"
                )
                assert cut == [], where
            assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()], where
            shown = page.evaluate(
                "[...document.querySelectorAll('picture img')].map("
                "i => [i.naturalWidth, i.clientWidth, i.complete])"
            )
            assert all(natural and drawn and done for natural, drawn, done in shown), where
            context.close()


@pytest.mark.parametrize("kind", PAGES)
def test_text_in_pictures_is_large_enough_for_a_phone(tmp_path, monkeypatch, kind):
    """Of each picture as it is laid out for 400 pixels, 12 of which are the page's margins."""
    smallest: dict[str, float] = {}
    fold, cut = narrow.fold, []

    def measured(figure: Any) -> None:
        fold(figure)
        figure.draw_without_rendering()
        for title in (title for ax in figure.axes for title in (ax.title, ax._left_title)):
            box = title.get_window_extent()
            if title.get_text() and (box.x0 < 0 or box.x1 > figure.bbox.x1):
                cut.append(title.get_text())
        scale = min(1.0, (400 - 2 * 13) / (figure.get_figwidth() * CSS_PIXELS))
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text().strip():
                pixels = text.get_fontsize() / 72 * CSS_PIXELS * scale
                smallest[text.get_text()] = min(pixels, smallest.get(text.get_text(), 99.0))

    monkeypatch.setattr(narrow, "fold", measured)
    PAGES[kind](tmp_path)
    assert {text: size for text, size in smallest.items() if size < SMALLEST} == {}
    assert cut == []
    assert smallest


def test_a_click_rates_a_scan_and_saves_the_file(browser, tmp_path):
    from brainjepa_client.quality.ratings import read_ratings

    (path,) = quality(tmp_path)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(path.as_uri())
    page.click("#scans a >> nth=0")  # excluded ones come first
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")
    page.click("[data-rating=good]")
    page.click("dialog button[value='0']")
    page.click("circle >> nth=0")
    assert page.inner_text("dialog nav >> nth=0").startswith("sub-0 task-rest")
    page.click("dialog button[value='0']")
    with page.expect_download() as waiting:
        page.click("#save")
    waiting.value.save_as(tmp_path / "ratings.json")
    run = "task-rest"
    assert read_ratings(tmp_path) == {("sub-1", "", run): "bad", ("sub-0", "", run): "good"}
