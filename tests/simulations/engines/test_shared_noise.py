"""A study whose sites share the noise: one private training on all sites' people together."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from private_consortium import private
from small_consortium import TOTAL, run, same, summary, weights

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.membership import KEY
from brainjepa_client.computing import private_sum
from brainjepa_client.computing.private_round import SECRET
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.settings import SiteSettings
from brainjepa_core.models.sources import read_source
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.ledger import Ledger
from brainjepa_core.secure_sums.messages import MASKED, STEPS
from brainjepa_core.settings import read_settings
from brainjepa_core.wire.contract import read_contract
from brainjepa_core.wire.messages import Request
from brainjepa_server.record.history import read_history
from brainjepa_server.reporting.report import write_report
from brainjepa_server.rounds import secure_sums, summed_gradients
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_simulations.engines.virtual_consortium import CONTRACT
from brainjepa_simulations.engines.virtual_sites import SITES as SITES_FOLDER
from brainjepa_simulations.engines.virtual_sites import STATES

SITES, HONEST = 4, 3
CLIP, QUIET = 0.5, 3e-4  # of a noise that is hardly seen, beside the rounding to integers
PRIVACY = {"noise": 1.5, "clip": CLIP, "where": "central", "honest_sites": HONEST}


def shared(folder, privacy: dict | None = None, **changes):
    chosen = {**PRIVACY, **(privacy or {})}
    return private(folder, SITES, 1, privacy=chosen, **changes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "study"
    chosen = shared(folder)
    return chosen, run(chosen, folder)


def test_what_leaves_is_a_step_of_a_secure_sum_and_a_number_of_steps(straight):
    _, folder = straight
    for state in sorted((folder / STATES).iterdir()):
        lines = list(audit_log(state).lines())
        assert {line["event"] for line in lines} == {"answered"}
        trained = [line for line in lines if line["kind"] == "train"]
        assert [line["step"] for line in trained] == TOTAL * list(STEPS)
        masked = [line for line in trained if line["step"] == MASKED]
        assert all(line["numbers"] == ["steps"] for line in masked)
        assert len(lines) == 1 + len(trained)  # and describe


def test_both_epsilons_are_told_and_are_those_of_the_ledger(straight):
    _, folder = straight
    history = read_history(folder)
    for state in sorted((folder / STATES).iterdir()):
        (account,) = Ledger(state).accounts().values()
        (release,) = account.answered
        assert (release.times, release.noise, release.honest_sites) == (TOTAL, 1.5, HONEST)
        assert epsilon_of([release], 1e-5) == history.promised[state.name]
        assert epsilon_of([release.alone], 1e-5) == history.promised_alone[state.name]
        assert history.promised[state.name] < history.promised_alone[state.name]
        log = (state / "log.txt").read_text()
        assert "if at least 3 sites follow the protocol" in log and "if this one alone does" in log
    page = write_report(folder).read_text()
    assert "if at least 3 sites of each sum follow the protocol" in page
    assert "If a site is the only one that does: each person of site-01" in page


class Watched:
    """What each site computes from: the model and the people of a step."""

    def __init__(self, monkeypatch):
        self.seen, self._real = [], private_sum.rounded_sums
        monkeypatch.setattr(private_sum, "rounded_sums", self)

    def __call__(self, model, training, code, batches, *how):
        self.seen.append((copy.deepcopy(model), batches))
        return self._real(model, training, code, batches, *how)


def clipped_by_hand(model, batches) -> dict[str, torch.Tensor]:
    """Sum of single people's clipped gradients in float64, one backward pass each."""
    model = model.double()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in trained.items()}
    for batch in batches:
        for person in range(len(batch.x)):
            one = slice(person, person + 1)
            draws = {n: None if v is None else v[one] for n, v in batch.draws.items()}
            valid = None if batch.token_valid is None else batch.token_valid[one]
            loss = model(batch.x[one].double(), token_valid=valid, **draws).sum()
            gradients = torch.autograd.grad(loss, list(trained.values()))
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            for name, gradient in zip(trained, gradients, strict=True):
                total[name] += gradient * min(1.0, CLIP / float(norm))
    return total


def test_it_is_one_descent_on_the_people_of_all_sites(tmp_path, monkeypatch):
    """Plain gradient descent by hand on the clipped gradients of those whom the sites drew."""
    watched = Watched(monkeypatch)
    chosen = shared(
        tmp_path / "study", {"noise": QUIET}, training={"optimizer": "sgd", "train": "all"}
    )
    folder = run(chosen, tmp_path / "study")
    assert len(watched.seen) == SITES * TOTAL
    recipe = chosen.study.pretraining.training
    model, _ = read_source(chosen.study.start_from.model, None, chosen.study.pretraining.family)
    began = {name: p.detach().double() for name, p in model.named_parameters()}
    ours = dict(began)
    for step in range(TOTAL):
        sites = watched.seen[SITES * step : SITES * (step + 1)]
        parts = [clipped_by_hand(model, batches) for model, batches in sites]
        values = values_at(recipe.schedule, step)
        for name in parts[0]:
            mean = sum(part[name] for part in parts) / (SITES * recipe.batch_size)
            decay = values.weight_decay if ours[name].ndim > 1 else 0.0
            ours[name] = ours[name] - values.lr * (mean + decay * ours[name])
    final = weights(folder)
    trained = list(parts[0])
    apart = sum(float(((torch.tensor(final[n]) - ours[n]) ** 2).sum()) for n in trained) ** 0.5
    moved = sum(float(((ours[n] - began[n]) ** 2).sum()) for n in trained) ** 0.5
    assert apart < 2e-3 * moved, (apart, moved)


def test_a_sum_that_too_few_sites_answered_costs_nothing_more(tmp_path, straight, monkeypatch):
    """A second attempt of the round has other masks over the same numbers."""
    chosen, whole = straight
    folder = tmp_path / "study"
    again = shared(folder)
    update = {"study": again.study.model_copy(update={"start_from": chosen.study.start_from})}
    again = again.model_copy(update=update)
    same_secrets(whole, folder)
    real, asked = secure_sums._ask, []

    def cut(sites, question, sums, arrived):
        step = sums[0].step
        asked.append(step)
        real(sites, question, sums, arrived)
        if asked.count(MASKED) == 2 and step == MASKED:
            raise QuorumMissed("expected sites, found too few")

    monkeypatch.setattr(secure_sums, "_ask", cut)
    run(again, folder)
    assert asked.count(MASKED) == TOTAL + 1
    assert same(weights(folder), weights(whole))
    for state in sorted((folder / STATES).iterdir()):
        (account,) = Ledger(state).accounts().values()
        (release,) = account.answered
        assert release.times == TOTAL


def same_secrets(folder, other):
    """Of one run for another, without which noise and masks differ."""
    for state in sorted((folder / STATES).iterdir()):
        for name in (KEY, SECRET, "salt"):
            (other / STATES / state.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(state / name, other / STATES / state.name / name)
    (other / CONTRACT).write_bytes((folder / CONTRACT).read_bytes())


def test_a_coordinator_that_was_cut_off_goes_on_with_the_same_bits(tmp_path, straight, monkeypatch):
    chosen, whole = straight
    folder = tmp_path / "study"
    again = shared(folder)
    update = {"study": again.study.model_copy(update={"start_from": chosen.study.start_from})}
    again = again.model_copy(update=update)
    same_secrets(whole, folder)
    real, calls = summed_gradients._stepped, []

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(summed_gradients, "_stepped", cut)
        with pytest.raises(KeyboardInterrupt):
            run(again, folder)
    run(again, folder)
    assert same(weights(folder), weights(whole))
    assert summary(folder)["promised"] == summary(whole)["promised"]


def test_a_site_refuses_such_a_round_in_the_clear(straight):
    """Without masks its part would have its own share of the noise alone."""
    _, folder = straight
    settings = read_settings(min((folder / SITES_FOLDER).glob("*.yaml")), SiteSettings)
    contract = read_contract((folder / CONTRACT).read_text())
    reply = Site(settings).answer(Request("train", contract.asked(0), {}))
    assert not reply.arrays
    assert "answered in secure sums alone (protect), found one in the clear" in reply.refusal
