"""The site decides how it computes, the study how exact: sites that differ in one study."""

from __future__ import annotations

import pytest
import torch
from small_sites import STUDY, ask, ask_round, make_site, make_study, received, same, weights_of

from brainjepa_client.answering.site import Site
from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.state import rounds
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import DESCRIBE, GRADIENTS, TRAIN

BF16 = Computing(precision="bf16")


def computing(site: Site, choice: Computing) -> Site:
    return Site(site.settings.model_copy(update={"computing": choice}))


def test_two_sites_of_one_study_lose_the_same_in_fp32_and_bf16(stores, start, tmp_path):
    """Equal people, and each round's weights the mean of both; to the tolerance of the study."""
    exact = make_site(stores[0], tmp_path / "a")
    half = computing(make_site(stores[0], tmp_path / "b"), BF16)
    arrays = dict(start)
    for number in range(3):
        request = ask_round(number, arrays)
        replies = [site.answer(request) for site in (exact, half)]
        assert [reply.refusal for reply in replies] == ["", ""]
        a, b = (reply.metrics["loss"] for reply in replies)
        assert abs(a - b) <= STUDY.training.tolerance * a and STUDY.training.tolerance == 0.01
        new = [received(arrays, reply) for reply in replies]
        assert not same(*new)
        arrays |= {name: (new[0][name] + new[1][name]) / 2 for name in weights_of(start)}


@pytest.mark.parametrize(
    ("tolerance", "choice", "text"),
    [
        (
            0.001,
            BF16,
            "found precision: bf16, which is to 0.01; set precision: fp32 or tf32 (secti",
        ),
        (
            0.0,
            Computing(compile=True),
            "found compile: true, which is to 1e-05; set compile: false",
        ),
    ],
)
def test_a_site_outside_of_what_the_study_accepts_refuses_before_training(
    stores, start, tmp_path, tolerance, choice, text
):
    study = make_study(tolerance=tolerance)
    site = computing(make_site(stores[0], tmp_path), choice)
    refusal = site.answer(ask_round(0, start, study)).refusal
    assert refusal.startswith(f"expected steps computed to {tolerance:g} of exact fp32 or better")
    assert text in refusal and refusal.endswith(
        "(section computing of this site's YAML), or go on without this site"
    )
    assert rounds(tmp_path / "small") == []
    assert make_site(stores[0], tmp_path).answer(ask_round(0, start, study)).refusal == ""
    for kind in (DESCRIBE, GRADIENTS):  # nothing of these is computed so
        assert site.answer(ask(kind, {}, study)).refusal == ""


def test_what_is_not_of_single_people_is_refused_under_differential_privacy(
    stores, start, tmp_path
):
    site = computing(
        make_site(stores[0], tmp_path, privacy_budget={"epsilon": 8}), Computing(compile=True)
    )
    request = ask(TRAIN, start, steps=2, privacy={"epsilon": 8})
    assert "expected neither compile: true nor attention: packed" in site.answer(request).refusal
    assert not (tmp_path / "privacy.jsonl").exists()


def test_another_way_to_compute_is_another_private_answer(stores, start, tmp_path):
    """Two answers under one noise would differ by people's gradients without it."""
    request = ask(TRAIN, start, steps=2, privacy={"epsilon": 8})
    store = ScanStore.open(stores[0])
    site = make_site(stores[0], tmp_path, privacy_budget={"epsilon": 8})
    told = {
        PrivateRound.of(computing(site, choice).settings, request, store).answer
        for choice in (Computing(), BF16)
    }
    assert len(told) == 2


def test_threads_are_at_most_the_cores_that_a_site_may_use(stores, tmp_path, monkeypatch):
    """A container's quota is what torch does not know."""
    before = torch.get_num_threads()
    monkeypatch.setattr("brainjepa_core.machine.processors.usable_cores", lambda: 2)
    try:
        torch.set_num_threads(3)
        reply = make_site(stores[0], tmp_path).answer(ask(DESCRIBE))
        assert reply.metrics["threads"] == 2
    finally:
        torch.set_num_threads(before)
