"""A study's cards, from what it has recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from brainjepa_core.models.sharing.card import CARD
from brainjepa_server.record.attendance import attendance
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    Told,
    YardstickRow,
    alone,
    write_history,
)
from brainjepa_server.reporting.methods import study_methods
from brainjepa_server.reporting.study_card import write_cards

sys.path.append(str(Path(__file__).parents[2] / "brainjepa_core" / "models" / "sharing"))
from shared_models import model_in_folder


def history(settings=None, **fields) -> RunHistory:
    more = settings or {}
    reply = SiteRecord(loss=0.5, share=1.0)
    rows = [
        YardstickRow(model=model, pool=pool, outcome="latents", r2=r2)
        for model, pool, r2 in (
            ("federated", "mean", 0.25),
            ("federated", "std", 0.1),
            ("random weights", "mean", 0.05),
            (alone("Lyon"), "mean", 0.2),
        )
    ]
    return RunHistory(
        name="pilot",
        contract="c" * 64,
        told={"Lyon": Told(people=120, scans=240), "away": Told(people=50)},
        settings={"rounds": {"local_steps": 4}, "floors": {"sites": 3}, **more},
        rounds=(RoundRecord(number=1, sites={"Lyon": reply, "Graz": reply}),),
        baselines=tuple(rows),
        **fields,
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("final", "best"):
        model_in_folder(tmp_path / name)
    return tmp_path


def card_of(study: Path, found: RunHistory, name: str = "final") -> str:
    write_history(study, found)
    write_cards(study)
    return (study / name / CARD).read_text()


def test_it_tells_of_the_sites_behind_the_weights_and_of_no_others(study):
    card = card_of(study, history())
    assert "| Lyon | 120 | 240 |" in card and "| Graz | not known | not known |" in card
    assert "away" not in card
    assert "contract cccccccccccc before it was asked" in card and "3 sites." in card
    assert "1 round of 4 optimiser steps at each site" in card
    assert "# pilot, the best round" in (study / "best" / CARD).read_text()


def test_figures_are_of_the_verdicts_pool_and_intervals_are_not_made_up(study):
    card = card_of(study, history())
    assert "| federated | latents, by mean | r2 | 0.250 | not known | not known |" in card
    assert "by std" not in card and "Lyon alone" not in card
    assert "No interval is known" in card and "value: 0.25" in card


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "Each site's weights were seen by the coordinator."),
        ({"protect": {"secure_sum": {}}}, "Replies came as secure sums over the sites"),
        ({"privacy": {"delta": 1e-6}}, "epsilon at delta 1e-06"),
    ],
)
def test_privacy_is_what_the_study_had(study, settings, told):
    card = card_of(study, history(settings=settings, promised={"Lyon": 8.0}))
    assert told in card
    assert ("no differential privacy" in card) == ("privacy" not in settings)


@pytest.mark.parametrize("settings", [{}, {"start_from": {"model": "m"}}])
def test_a_basis_of_the_model_that_it_began_with_is_not_these_sites(study, settings):
    facts = BasisFacts(hash="h", sites=("Lyon", "Graz"), subjects=60)
    found = history(settings=settings, basis=facts)
    assert ("The basis is of the mean" in card_of(study, found)) == (not settings)
    assert ("of 60 people of 2 sites" in study_methods(found)) == (not settings)
    assert ("basis is that of the model" in attendance(found)) == bool(settings)


def test_a_paper_counts_the_sites_behind_the_weights():
    assert "at 2 sites with at least 120 people and 240 scans, by" in study_methods(history())


def test_tasks_that_were_asked_of_the_model_are_in_its_card(study):
    row = {"model": "probe", "metric": "mae", "unit": "years", "mean": 4.5, "n": 80}
    report = {"made_from": {"model": "final"}, "rows": [row]}
    (study / "task-age.json").write_text(json.dumps(report))
    (study / "task-sex.json").write_text("damaged")
    line = "| probe | age | mae, years | 4.500 | not known | 80 |"
    assert line in card_of(study, history())
    assert line not in (study / "best" / CARD).read_text()
