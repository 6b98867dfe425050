"""The report: complete or not, it opens without anything else, and carries nobody's code."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click import unstyle
from page_text import unexplained
from typer.testing import CliRunner

from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pages.made import Made
from brainjepa_core.pages.picture import Picture
from brainjepa_server.cli import app
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
    alone,
    write_history,
)
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.report import BASIS, CONNECTIVITY, SHOWN_ROUNDS, write_report

SITES = ("site-01", "site-02", "site-03")
ROIS = tuple(f"17Networks_LH_{name}_{i}" for name in ("Vis", "Som", "Def") for i in range(4))
ATTACK = "<script>alert('x')</script>\x00\" onload=\"y {{ title }} {% raw %} $oops"
VOID = {"meta", "img", "br", "source"}


class Checked(HTMLParser):
    """Tags that are closed in order, and what they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tags.append(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "srcset") or (name == "href" and value[0] != "#")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def basis() -> ConsensusBasis:
    rng = np.random.default_rng(0)
    return ConsensusBasis(ROIS, rng.normal(size=(len(ROIS), 4)), np.array([1.0, 0.99, 0.5, 0.2]))


def connectivity(rois: tuple[str, ...]) -> ConnectivitySum:
    total = ConnectivitySum(rois)
    total.add_scan(np.random.default_rng(0).normal(size=(len(rois), 50)))
    return total


def rows(model: str, r2: float) -> list[YardstickRow]:
    return [
        YardstickRow(model=model, pool=pool, outcome=outcome, r2=r2, features=8)
        for pool in ("mean", "network_covariance")
        for outcome in ("connectivity", "latents")
    ]


def full(rounds: int = 3) -> RunHistory:
    replies = {s: SiteRecord(loss=0.5, steps=5, seconds=2.0, share=7, drift=30.0) for s in SITES}
    consensus = basis()
    return RunHistory(
        name="pilot",
        total_rounds=rounds,
        settings={"rounds": {"local_steps": 5}},
        versions={"torch": "2.8"},
        basis=BasisFacts(
            hash=consensus.hash,
            eigenvalues=consensus.eigenvalues,
            eigengaps=consensus.eigengaps,
            sites=tuple(SITES),
            subjects=60,
            drift=dict.fromkeys(SITES, 20.0),
        ),
        rounds=[
            RoundRecord(
                number=n + 1, first_step=5 * n, seconds=9.0, seconds_beyond_sites=1.0,
                bytes_down=3_000_000, bytes_up=2_500, sites=replies,
                yardstick=rows("federated", 0.1 * n) + rows("random weights", 0.05),
            )
            for n in range(rounds)
        ],
        best_round=rounds,
        baselines=rows("pooled", 0.4) + [r for s in SITES for r in rows(alone(s), 0.15)],
    )  # fmt: skip


def page_of(folder: Path, history: RunHistory) -> str:
    write_history(folder, history)
    page = write_report(folder).read_text(encoding="utf-8")
    found = Checked(page)
    others = {a for a in found.addresses if not a.startswith("data:image/png;base64,")}
    assert all((folder / name).parent == folder and (folder / name).is_file() for name in others)
    assert not {"script", "link", "iframe", "form"} & set(found.tags)
    return unexplained(page)


def test_full_report(tmp_path: Path) -> None:
    basis().save(tmp_path / BASIS)
    connectivity(ROIS).save(tmp_path / CONNECTIVITY)
    page = page_of(tmp_path, full())
    assert page.count("<img") == 9
    for outcome in ("connectivity", "latents"):  # each with its pictures and its sentence
        assert f"R2 of {outcome} by model and pool" in page and f"R2 of {outcome} by round" in page
        assert f"{outcome}: explains 20% of the differences (R² 0.200); ahead of random" in page
        assert f"<th>R2 of {outcome}</th>" in page
    assert "Federated study pilot" in page and basis().hash in page
    assert "Components 1/2 are under 5% apart" in page
    assert '<tr class="best"><td>3</td><td>10 to 14</td>' in page
    assert "Rounds are numbered from 1" in page and "<td>1</td><td>0 to 4</td>" in page
    assert f"The consensus is of 60 people of {len(SITES)} sites: {SITES[0]}" in page
    assert "<td>3.0 MB</td><td>2.5 kB</td>" in page and "rounds.local_steps" in page
    for encoded in re.findall(r'base64,([^"]+)"', page):
        assert base64.b64decode(encoded).startswith(b"\x89PNG")


@pytest.mark.usefixtures("words_alone")
def test_the_other_half_is_in_the_first_table(tmp_path: Path) -> None:
    pool = {"pool": "latent_connectivity", "outcome": "the other half"}
    half = YardstickRow(model="pooled", r2=0.077, **pool)
    page = page_of(tmp_path, full().having(baselines=(*full().baselines, half)))
    first = page[page.index("<table") : page.index("</table")]
    assert "latent_connectivity" in first and "0.077" in first


def test_same_study_gives_the_same_report(tmp_path: Path, monkeypatch) -> None:
    made = Made.now()
    monkeypatch.setattr(Made, "now", lambda: made)
    basis().save(tmp_path / BASIS)
    assert page_of(tmp_path, full()) == page_of(tmp_path, full())


@pytest.mark.parametrize(
    "missing",
    [
        {"basis": None},
        {"rounds": ()},
        {"baselines": ()},
        {"baselines": (), "rounds": ()},
        {"settings": {}, "versions": {}},
        {"best_round": None, "total_rounds": None},
        {"rounds": (RoundRecord(number=1), RoundRecord(number=2, rejected={"site-01": "late"}))},
        {"rounds": (RoundRecord(number=1, sites={"site-01": SiteRecord()}),), "baselines": ()},
        {"basis": BasisFacts(hash="abc", eigenvalues=(None, None), eigengaps=(None,))},
        {"baselines": (*rows("pooled", float("nan")), *rows(alone("site-01"), float("nan")))},
    ],
)
def test_missing_parts(tmp_path: Path, missing: dict[str, object]) -> None:
    page_of(tmp_path, full().having(**missing))


def test_nothing_yet(tmp_path: Path) -> None:
    page = page_of(tmp_path, RunHistory())
    for text in ("has not begun", "Not evaluated yet", "No site has answered", "Not computed yet"):
        assert text in page


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    record = RoundRecord(
        number=1,
        sites={ATTACK: SiteRecord(loss=1.0, drift=3.0)},
        rejected={f"{ATTACK}2": ATTACK},
        clipped={f"{ATTACK}3": ATTACK},
        capped={f"{ATTACK}3": ATTACK},
        unjudged={f"{ATTACK}3": ATTACK},
        yardstick=[YardstickRow(model=ATTACK, pool="p_1", outcome=ATTACK, r2=0.1)],
    )
    facts = BasisFacts(hash=ATTACK, drift={ATTACK: 1.0}, sites=(ATTACK,), left_out={ATTACK: ATTACK})
    history = RunHistory(
        name=ATTACK, settings={ATTACK: ATTACK}, versions={ATTACK: ATTACK}, basis=facts,
        rounds=[record], baselines=[YardstickRow(model=ATTACK, pool=ATTACK, outcome="o", r2=0.2)],
    )  # fmt: skip
    page = page_of(tmp_path, history)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page and "\x00" not in page
    assert "{{ title }} {% raw %} $oops" in page


def test_what_became_of_a_reply_is_shown_with_the_reason(tmp_path: Path) -> None:
    record = RoundRecord(
        number=2,
        sites={"a": SiteRecord(scale=0.5)},
        rejected={"b": "found 4 times"},
        clipped={"a": "found 2 times"},
        capped={"a": "a share of 9"},
        unjudged={"c": "no moments"},
    )
    history = RunHistory(rounds=[RoundRecord(number=1), record], unjudged={"random": {"d": "late"}})
    page = page_of(tmp_path, history)
    for row in (
        ("start", "d", "not in the yardstick", "late"),
        ("2", "b", "left out", "found 4 times"),
        ("2", "a", "clipped", "found 2 times"),
        ("2", "a", "counted for less", "a share of 9"),
        ("2", "c", "not in the yardstick", "no moments"),
    ):
        assert re.search("".join(f"<td[^>]*>{cell}</td>" for cell in row), page), row
    sites = page[page.index("replies used") :]
    assert re.search(r"<td[^>]*>a</td><td[^>]*>1</td><td[^>]*>1</td><td[^>]*>0</td>", sites)


@pytest.mark.usefixtures("words_alone")
def test_a_site_without_a_drift_is_named(tmp_path: Path) -> None:
    history = full()
    facts = history.basis.model_copy(
        update={"drift": {**dict.fromkeys(SITES, 20.0), "site-02": None}}
    )
    silent = {**dict.fromkeys(SITES, SiteRecord(drift=30.0)), "site-02": SiteRecord()}
    rounds = [record.model_copy(update={"sites": silent}) for record in history.rounds]
    page = page_of(tmp_path, history.having(basis=facts, rounds=rounds))
    assert "Drift is not known of site-02: nothing was told" in page


def test_many_rounds_and_sites(tmp_path: Path) -> None:
    history = full(SHOWN_ROUNDS + 20)
    many = {f"site-{i:02d}": SiteRecord(loss=0.1 * i) for i in range(30)}
    last = history.rounds[-1].model_copy(update={"sites": many})
    page = page_of(tmp_path, history.with_round(last))
    assert f"The table shows the last {SHOWN_ROUNDS} of {SHOWN_ROUNDS + 20}." in page
    assert f"<details><summary>{SHOWN_ROUNDS} rounds, a row each</summary>" in page
    assert "rounds, a row each" not in page_of(tmp_path, full(3))


@pytest.mark.usefixtures("words_alone")
def test_damaged_or_foreign_basis(tmp_path: Path) -> None:
    (tmp_path / BASIS).write_bytes(b"no npz")
    assert "cannot be read" in page_of(tmp_path, full())
    ConsensusBasis(ROIS, np.ones((len(ROIS), 1)), np.ones(1)).save(tmp_path / BASIS)
    assert "of another study" in page_of(tmp_path, full())
    basis().save(tmp_path / BASIS)
    connectivity(ROIS[:3]).save(tmp_path / CONNECTIVITY)  # of other ROIs: left out
    assert page_of(tmp_path, full()).count("<img") == 9


@pytest.mark.usefixtures("words_alone")
def test_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 1
    assert unstyle(result.stderr).startswith("Error: expected summary.json in the folder")
    write_history(tmp_path, full())
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report.html").exists() and "report.html" in result.stdout.replace("\n", "")


@pytest.mark.parametrize("atlas_rois", [ROIS, tuple(f"roi_{i}" for i in range(12))])
def test_consensus_with_and_without_networks(atlas_rois: tuple[str, ...]) -> None:
    some = ConsensusBasis(atlas_rois, basis().gradients[:, :1], np.ones(1))
    missing = np.full((12, 12), np.nan)
    for mean_fc in (None, missing, np.eye(12)):
        assert "data:image/png" in Picture.of(figures.consensus(some, mean_fc), "").source


def test_baselines_of_a_chosen_outcome() -> None:
    ax = figures.baselines(full(), "connectivity").axes[0]
    assert "connectivity" in ax.get_title()
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown[:2] == ["pooled", "federated"] and shown[-1] == "random weights"
    widths = {round(patch.get_width(), 6) for patch in ax.patches}
    assert widths == {0.4, 0.2, 0.15, 0.05}


def test_bytes_have_units() -> None:
    assert [figures.unit_of_bytes(n)[0] for n in (0, 999, 1e3, 2e6, 3e9)] == [
        "bytes", "bytes", "kB", "MB", "GB",
    ]  # fmt: skip


def test_tasks_are_on_the_page(tmp_path):
    write_history(tmp_path, RunHistory(name="small"))
    assert "Tasks asked" not in write_report(tmp_path).read_text()
    row = {"model": "federated ridge probe (mean)", "metric": "r", "unit": "", "mean": 0.5, "n": 90}
    report = {"rows": [row], "left_out": {"scores": {"site-01": "<b>no</b>"}}}
    (tmp_path / "task-age.json").write_text(json.dumps(report))
    (tmp_path / "task-sex.json").write_text("{")
    page = unexplained(write_report(tmp_path).read_text())
    for text in (">age</h3>", "federated ridge probe (mean)", "0.500", ">90<", ">sex</h3>"):
        assert text in page
    assert "<b>no</b>" not in page and "&lt;b&gt;no" in page
    assert "task-sex.json beside this report cannot be read." in page
