"""A site under ``protect: dp``: counted before it is computed, repeated with the same bits."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from child_process import environment
from numpy.testing import assert_allclose
from small_sites import (
    STUDY,
    TOTAL,
    ask,
    ask_round,
    bits,
    make_study,
    same,
    training_windows,
    weights_of,
)

from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.computing import kinds
from brainjepa_client.computing.private_round import (
    GRID,
    SECRET,
    PrivateRound,
    on_grid,
    privacy_secret,
)
from brainjepa_client.settings import SiteSettings
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.ledger import LEDGER, RELEASED, RESERVED, Ledger
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import TRAIN

EPSILON = 8.0
PRIVACY = {"epsilon": EPSILON, "clip": 0.5}
POLICY = {"privacy_budget": {"epsilon": EPSILON}, "round_counts_to": 1}


def make_private(store: Path, state: Path, **policy) -> Site:
    choices = {"min_subjects": 4, "min_people_in_sum": 1, **POLICY, **policy}
    return Site(SiteSettings(name="one", store=store, state=state, policy=choices))


def private_round(number: int, arrays: dict, study=STUDY, privacy=PRIVACY, **task):
    return ask_round(number, arrays, study, privacy=privacy, **task)


def train(site: Site, start: dict, study=STUDY, rounds=(0, 1, 2), **task) -> tuple[dict, list]:
    """The coordinator's part with one site."""
    arrays, replies = dict(start), []
    for number in rounds:
        replies.append(site.answer(private_round(number, arrays, study, **task)))
        assert replies[-1].refusal == ""
        arrays |= replies[-1].arrays
    return arrays, replies


def events(state: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (state / LEDGER).read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_weights_and_steps_leave_and_nothing_else(stores, start, tmp_path):
    _, replies = train(make_private(stores[0], tmp_path), start)
    assert [reply.metrics for reply in replies] == [{"steps": 2}] * 3
    assert all(reply.arrays.keys() == weights_of(start).keys() for reply in replies)
    for value in replies[0].arrays.values():
        assert_allclose(value * GRID, np.rint(value * GRID), atol=0)


def test_epsilon_of_the_ledger_is_what_was_promised(stores, start, tmp_path):
    """Opacus' accountant on all releases in the file, with the site's own numbers."""
    train(make_private(stores[0], tmp_path), start)
    (account,) = Ledger(tmp_path).accounts().values()
    (release,) = account.answered
    assert release.times == TOTAL and release.rate == 4 / 9  # of 12, a fifth of whom is held out
    assert EPSILON * 0.99 < epsilon_of([release], 1e-5) <= EPSILON
    assert account.answered == account.spent
    assert len(events(tmp_path, RESERVED)) == len(events(tmp_path, RELEASED)) == 3


def test_the_log_tells_epsilon_after_every_round(stores, start, tmp_path):
    train(make_private(stores[0], tmp_path), start)
    lines = [line for line in (tmp_path / LOG).read_text().splitlines() if "by now" in line]
    spent = [float(line.split("epsilon ")[1].split()[0]) for line in lines]
    assert len(spent) == 3 and 0 < spent[0] < spent[1] < spent[2] <= EPSILON
    assert all("of 8 (delta 1e-05); before it: 0" in line for line in lines)


def test_the_same_request_again_has_the_same_bits_and_costs_nothing(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path)
    arrays, replies = train(site, start, rounds=(0, 1))
    before = Ledger(tmp_path).accounts()
    again = site.answer(private_round(1, {**arrays, **replies[0].arrays}))
    assert same(again.arrays, replies[1].arrays) and again.metrics == replies[1].metrics
    assert Ledger(tmp_path).accounts() == before


def test_another_request_for_the_same_round_is_refused(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path)
    train(site, start, rounds=(0,))
    name = "encoder.patch.weight"
    other = site.answer(private_round(0, {**start, name: start[name] + 1}))
    assert other.refusal == (
        "expected 'round 1' as it was asked before, found another request; an answer is repeated "
        "with the same bits only: go on with the next round"
    )
    assert not other.arrays and len(events(tmp_path, RESERVED)) == 1


def first_reply(store: Path, state: Path, folder: Path, start: dict):
    """The answer to round 1 of the site with this state: its secrets give the same bits."""
    folder.mkdir()
    for name in (SECRET, "salt"):
        shutil.copy(state / name, folder / name)
    return train(make_private(store, folder), start, rounds=(0,))[1][0]


@pytest.mark.parametrize("change", ["fresh moments", "a state that is gone", "another store"])
def test_what_would_be_computed_otherwise_is_refused(stores, start, tmp_path, change):
    """The difference of two answers under the same noise would be without noise."""
    state = tmp_path / "state"
    train(make_private(stores[0], state), start, rounds=(0, 1))
    first = first_reply(stores[0], state, tmp_path / "first", start)
    site = make_private(stores[0], state, reset_optimizer=change == "fresh moments")
    if change == "a state that is gone":
        shutil.rmtree(state / "small" / "round-000001")
    if change == "another store":
        site = make_private(stores[1], state)
    again = site.answer(private_round(1, {**start, **first.arrays}))
    expected = "found another request"
    if change == "another store":
        expected = "found another request|privacy budget"
    assert re.search(expected, again.refusal) and not again.arrays


class _Sum:
    """Gradient of the plain sum over the people of a step, over the expected batch."""

    def __init__(self, model, expected: int) -> None:
        self.model, self.expected = model, expected

    def __call__(self, batches):
        total = sum(
            self.model.sample_losses(b.x, token_valid=b.token_valid, **b.draws).sum()
            for b in batches
        )
        (total / self.expected).backward()
        return total.detach() / self.expected


@pytest.mark.parametrize("sizes", [(6,), (2, 2, 2)], ids=str)
def test_without_noise_and_with_all_people_a_round_is_plain_descent(stores, start, tmp_path, sizes):
    """In theory: everybody is in each step, nobody is clipped, and the sum is over the batch."""
    study = make_study(optimizer="sgd", batch_size=16)
    privacy = {"noise": 1e-6, "clip": 100.0}
    site = make_private(stores[0], tmp_path, privacy_budget={"epsilon": 1e15})
    arrays, step = dict(start), 0
    windows = training_windows(stores[0], study)
    basis = ConsensusBasis(tuple(windows.atlas.rois), start["basis"], np.full(3, np.nan))
    training = study.new_training(basis)
    training.gradient = _Sum(training.model, 16)
    store = ScanStore.open(stores[0])
    for number, steps in enumerate(sizes):
        task = {"round": number, "first_step": step, "steps": steps, "privacy": privacy}
        request = ask(TRAIN, arrays, study, **task)
        private = PrivateRound.of(site.settings, request, store)
        assert private.drawn(windows, request.assignment) == list(range(windows.subjects))
        for batches in private.batches(windows, training.model, request.assignment):
            training.advance(batches)
        reply = site.answer(request)
        assert reply.refusal == ""
        arrays |= reply.arrays
        step += steps
    expected = bits(training)
    moved = np.abs(expected["encoder.patch.weight"] - start["encoder.patch.weight"]).max()
    assert moved > 1e-3
    for name in weights_of(start):
        assert_allclose(arrays[name], expected[name], atol=1e-5, err_msg=name)


def test_a_round_is_the_private_steps_of_the_library_bit_for_bit(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path)
    request = ask(TRAIN, start, steps=6, privacy=PRIVACY)
    private = PrivateRound.of(site.settings, request, ScanStore.open(stores[0]))
    windows = training_windows(stores[0])
    basis = ConsensusBasis(tuple(windows.atlas.rois), start["basis"], np.full(3, np.nan))
    model = STUDY.new_model(basis)
    gradient = private.gradient(model, request.assignment, site.settings)
    training = Training(model, STUDY.training, gradient=gradient)
    for batches in private.batches(windows, model, request.assignment):
        training.advance(batches)
    reply = site.answer(request)
    assert same(reply.arrays, on_grid(weights_of(bits(training))))


def test_a_step_in_which_nobody_is_drawn_is_noise_and_leaves(stores, start, tmp_path):
    study = make_study(batch_size=1)
    _, replies = train(make_private(stores[0], tmp_path), start, study)
    secret = privacy_secret(tmp_path)
    assert len(secret) == 32 and (tmp_path / SECRET).stat().st_mode & 0o777 == 0o600
    moved = replies[0].arrays["encoder.patch.weight"] - start["encoder.patch.weight"]
    assert np.abs(moved).min() > 0


@pytest.mark.parametrize("wire", ["bf16", "int8"])
def test_the_same_bits_on_every_wire(stores, start, tmp_path, wire):
    site = make_private(stores[0], tmp_path)
    request = private_round(0, start, wire=wire)
    assert same(site.answer(request).arrays, site.answer(request).arrays)


def test_a_study_that_does_not_fit_is_refused_before_its_first_message(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path, privacy_budget={"epsilon": 3})
    study = {"noise": 1.0}
    for kind, arrays in (("describe", {}), (TRAIN, start)):
        reply = site.answer(ask(kind, arrays, steps=2, privacy=study))
        assert re.fullmatch(
            r"expected a study within this site's privacy budget, found epsilon after this study: "
            r"\d\.\d+ of 3 \(delta 1e-05\), before it: 0; ask for more noise, fewer steps or "
            r"smaller batches, or go on without this site",
            reply.refusal,
        )
    assert not (tmp_path / LEDGER).exists()


def test_a_second_study_on_the_same_people_is_added(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path, privacy_budget={"epsilon": 10})
    assert site.answer(private_round(0, start)).refusal == ""
    other = ask_round(0, start, privacy={"epsilon": 9})
    assert "12 of 10 (delta 1e-05), before it: 8;" in site.answer(other).refusal
    small = ask_round(0, start, privacy={"epsilon": 1})
    assert site.answer(small).refusal == ""


def test_a_site_without_a_budget_answers_no_private_study(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path, privacy_budget=None)
    assert site.answer(private_round(0, start)).refusal == (
        "this site's policy has no privacy budget (policy.privacy_budget), without which no study "
        "under protect: dp is answered; ask its manager"
    )


@pytest.mark.parametrize("kind", ["gradients", "evaluate", TRAIN])
def test_nothing_that_no_ledger_counts_leaves_beside_a_budget(stores, start, tmp_path, kind):
    site = make_private(stores[0], tmp_path)
    reply = site.answer(ask(kind, start, steps=2))
    assert "which counts studies under protect: dp alone" in reply.refusal and not reply.arrays
    assert site.answer(ask("describe")).refusal == ""
    if kind != TRAIN:
        reply = site.answer(ask(kind, start, steps=2, privacy=PRIVACY))
        assert f"no budget counts {kind}" in reply.refusal and not reply.arrays


def test_a_delta_that_promises_nothing_is_refused(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path, privacy_budget={"epsilon": 8, "delta": 0.02})
    assert "a tenth of a person in 9, found 0.02" in site.answer(private_round(0, start)).refusal


def test_a_site_that_tells_of_nobody_is_refused(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path, round_counts_to=50)
    assert "found 0 after rounding" in site.answer(private_round(0, start)).refusal


def test_a_ledger_that_is_gone_stops_answers_and_names_no_path(stores, start, tmp_path):
    site = make_private(stores[0], tmp_path)
    train(site, start, rounds=(0,))
    (tmp_path / LEDGER).unlink()
    reply = site.answer(private_round(1, start))
    assert reply.refusal == "the site failed in train (ValueError); see its own log"
    assert "restored from a backup" in (tmp_path / LOG).read_text()


def hang(*_: object) -> None:
    print("here", flush=True)
    sys.stdin.read()


@pytest.mark.parametrize("place", ["computing", "releasing"])
def test_a_kill_leaves_the_round_counted_and_the_same_bits_to_come(stores, start, tmp_path, place):
    state = tmp_path / "state"
    privacy_secret(state)
    np.savez(tmp_path / "start.npz", **start)
    program = [sys.executable, __file__, str(stores[0]), str(state), str(tmp_path), place]
    around = environment()
    with subprocess.Popen(
        program, env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline().strip() == "here"
        child.send_signal(signal.SIGKILL)
    assert len(events(state, RESERVED)) == 1 and not events(state, RELEASED)
    reply = make_private(stores[0], state).answer(private_round(0, start))
    assert same(reply.arrays, first_reply(stores[0], state, tmp_path / "again", start).arrays)
    assert len(events(state, RESERVED)) == len(events(state, RELEASED)) == 1


def main(store: Path, state: Path, folder: Path, place: str) -> None:
    torch.set_num_threads(1)
    if place == "computing":
        kinds.train = hang
    else:
        Ledger.release = hang
    start = dict(np.load(folder / "start.npz"))
    make_private(store, state).answer(private_round(0, start))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
