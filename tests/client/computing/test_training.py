"""A round at a site: exact, whatever the rounds, repeats and kills; averaged as promised."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_sites
import torch
from child_process import environment
from numpy.testing import assert_allclose
from safetensors.numpy import load_file
from small_sites import (
    STUDY,
    ask,
    ask_round,
    bits,
    first_arrays,
    local_training,
    make_site,
    make_study,
    received,
    rounds_on_disk,
    same,
    training_windows,
    weights_of,
)

from brainjepa_client.computing.stopping import stopping_when
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.step import Training
from brainjepa_core.wire.messages import TRAIN, Request
from brainjepa_core.wire.weights import SCALES, decode_difference

SIGNS = {"spread_people", "spread_positions", "position_share", "rank_tokens", "rank_people"}
RECIPES = {
    "plain": STUDY,
    "in parts": make_study(accumulation=2, clip_norm=0.5),
    "sgd": make_study(optimizer="sgd"),
}


def federate(site, start, sizes, study=STUDY, **task) -> tuple[dict, list]:
    """The coordinator's part with one site: its weights become the global ones."""
    arrays, replies, step = dict(start), [], 0
    for number, steps in enumerate(sizes):
        request = ask(
            TRAIN, arrays, study, round=number, first_step=step, steps=steps, **task
        )  # fmt: skip
        replies.append(site.answer(request))
        assert replies[-1].refusal == ""
        arrays |= replies[-1].arrays
        step += steps
    return arrays, replies


def numbers(reply) -> dict:
    return {k: v for k, v in reply.metrics.items() if k != "seconds"}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sizes", [(6,), (1,) * 6, (2, 4), (4, 1, 1), (3, 3)], ids=str)
def test_one_site_through_the_federation_is_local_training(stores, start, tmp_path, sizes, recipe):
    study = RECIPES[recipe]
    expected = local_training(start, training_windows(stores[0], study), study)
    arrays, replies = federate(make_site(stores[0], tmp_path), start, sizes, study)
    assert same(weights_of(arrays), weights_of(bits(expected)))
    assert not np.array_equal(arrays["encoder.patch.weight"], start["encoder.patch.weight"])
    assert [reply.metrics["steps"] for reply in replies] == list(sizes)


def test_a_site_with_missing_rois_and_another_tr_is_exact_too(stores, start, tmp_path):
    expected = local_training(start, training_windows(stores[2]))
    arrays, _ = federate(make_site(stores[2], tmp_path), start, (2, 2, 2))
    assert same(weights_of(arrays), weights_of(bits(expected)))


def test_a_target_kept_at_the_site_is_its_own(stores, start, tmp_path):
    """The coordinator goes on sending the first target; the site knows better."""
    expected = bits(local_training(start, training_windows(stores[0])))
    arrays, replies = federate(make_site(stores[0], tmp_path), start, (1, 3, 2), target="local")
    trained = {k: v for k, v in arrays.items() if k.startswith(("encoder", "predictor"))}
    assert same(trained, {k: expected[k] for k in trained})
    assert not any(k.startswith("target_encoder") for reply in replies for k in reply.arrays)
    assert np.array_equal(
        arrays["target_encoder.patch.weight"], start["target_encoder.patch.weight"]
    )


@pytest.mark.parametrize("target", ["line", "local"])
def test_only_averaged_targets_leave(stores, start, tmp_path, target):
    reply = make_site(stores[0], tmp_path).answer(ask_round(0, start, target=target))
    expected = {k for k in start if k.startswith(("encoder.", "predictor."))}
    assert reply.arrays.keys() == expected


@pytest.mark.parametrize("switch", ["study", "site"])
def test_fresh_moments_every_round(stores, start, tmp_path, switch):
    policy = {"reset_optimizer": switch == "site"}
    site = make_site(stores[0], tmp_path, **policy)
    arrays, _ = federate(site, start, (3, 3), reset_optimizer=switch == "study")
    windows = training_windows(stores[0])
    model = local_training(start, windows).model
    model.load_state_dict({k: torch.tensor(start[k]) for k in model.state_dict()})
    for first in (0, 3):
        training = Training(model, STUDY.training)
        training.resume(first)
        for step in range(first, first + 3):
            training.advance(batches_of_step(windows, model, STUDY.training, step))
    assert same(weights_of(arrays), weights_of(bits(training)))


def test_sites_of_one_sgd_step_average_to_one_step_of_a_large_batch(stores, tmp_path):
    study = make_study(optimizer="sgd", schedule={"lr": 0.5})
    start = first_arrays(stores, study)
    replies = [
        make_site(store, tmp_path / store.name).answer(ask_round(0, start, study, steps=1))
        for store in stores
    ]
    averaged = {
        k: start[k] + np.mean([r.arrays[k].astype(np.float64) - start[k] for r in replies], 0)
        for k in replies[0].arrays
    }
    rois = tuple(f"roi {i}" for i in range(8))
    consensus = ConsensusBasis(rois, start["basis"], np.full(3, np.nan))
    pooled = study.new_training(consensus, "cpu")
    batches = [
        batch
        for store in stores
        for batch in batches_of_step(
            training_windows(store, study), pooled.model, study.training, 0
        )
    ]
    pooled.advance(batches)
    expected = weights_of(bits(pooled))
    assert averaged.keys() == expected.keys()
    for name, value in averaged.items():
        assert_allclose(value, expected[name], atol=1e-6)
    moved = max(np.abs(expected[k] - start[k]).max() for k in expected)
    assert moved > 1e-3


def test_the_proximal_term_by_hand(stores, start, tmp_path):
    """Two SGD steps: the first starts at the global weights, the second is pulled back to them."""
    study, mu = make_study(optimizer="sgd"), 5.0
    reply = make_site(stores[0], tmp_path).answer(ask_round(0, start, study, proximal=mu))
    windows = training_windows(stores[0], study)
    basis = ConsensusBasis(windows.atlas.rois, start["basis"], np.full(3, np.nan))
    training = study.new_training(basis, "cpu")
    training.advance(batches_of_step(windows, training.model, study.training, 0))
    after_one = bits(training)
    training.advance(batches_of_step(windows, training.model, study.training, 1))
    lr = values_at(study.training.schedule, 1).lr
    for name, value in bits(training).items():
        if name.startswith(("encoder", "predictor")):
            expected = value - lr * mu * (after_one[name] - start[name])
            assert_allclose(reply.arrays[name], expected, atol=1e-6)
    plain = make_site(stores[0], tmp_path / "plain").answer(ask_round(0, start, study))
    name = "encoder.patch.weight"
    distance = [np.abs(r.arrays[name] - start[name]).sum() for r in (reply, plain)]
    assert distance[0] < distance[1]


def test_numbers_of_a_reply(stores, start, tmp_path):
    site = make_site(stores[1], tmp_path, round_counts_to=10)
    windows = training_windows(stores[1])
    scans = sum(len(person.records) for person in windows.people)
    assert scans > windows.subjects
    expected = {"scans": scans, "subjects": windows.subjects, "equal": 1}
    exact = make_site(stores[1], tmp_path, round_counts_to=1)
    coarse = make_site(stores[1], tmp_path, round_counts_to=50)
    for share, number in expected.items():
        assert exact.answer(ask_round(0, start, share=share)).metrics["share"] == number
        reply = coarse.answer(ask_round(0, start, share=share))
        assert reply.metrics["share"] == 1  # nobody by its rounding, and still a site
        reply = site.answer(ask_round(0, start, share=share))
        assert reply.metrics["share"] == float(max(number // 10 * 10, 1))
    assert reply.metrics.keys() == {
        "share", "loss", "loss_last", "steps", "seconds", *SIGNS
    }  # fmt: skip
    assert all(isinstance(v, int | float) and np.isfinite(v) for v in reply.metrics.values())
    ones = [site.answer(ask(TRAIN, start, steps=steps)).metrics for steps in (1, 2)]
    assert ones[0]["loss"] == ones[0]["loss_last"]
    mean = (ones[0]["loss"] + ones[1]["loss_last"]) / 2
    assert ones[1]["loss"] == pytest.approx(mean, rel=5e-3)
    for name in {*SIGNS, "loss", "loss_last", "seconds"}:
        assert reply.metrics[name] == float(f"{reply.metrics[name]:.3g}")


def test_a_batch_of_one_has_no_signs_of_collapse(stores, start, tmp_path):
    study = make_study(batch_size=1)
    reply = make_site(stores[0], tmp_path).answer(ask_round(0, start, study))
    assert reply.refusal == "" and not SIGNS & reply.metrics.keys()


def test_what_int8_drops_is_sent_in_the_next_rounds(stores, start, tmp_path):
    """Telescoping: decoded answers add up to the differences, but for what is kept at the end."""
    site, arrays = make_site(stores[0], tmp_path), dict(start)
    owed: dict[str, np.ndarray] = {}
    for number in range(3):
        # The same round of a site that has the same optimiser's state, and drops nothing.
        shutil.rmtree(tmp_path / "whole", ignore_errors=True)
        if number:
            shutil.copytree(tmp_path / "small", tmp_path / "whole" / "small")
        exact = make_site(stores[0], tmp_path / "whole").answer(ask_round(number, arrays))
        reply = site.answer(ask_round(number, arrays, wire="int8"))
        for name, value in exact.arrays.items():
            difference = value.astype(np.float64) - arrays[name]
            sent = decode_difference(name, reply.arrays, arrays, "int8")
            owed[name] = owed.get(name, 0) + difference - sent
        arrays = received(arrays, reply, "int8")
    kept = load_file(tmp_path / "small" / "round-000003" / "kept_back.safetensors")
    assert kept.keys() == owed.keys()
    largest = max(np.abs(value).max() for value in owed.values())
    for name, value in owed.items():
        assert_allclose(kept[name], value, rtol=0, atol=1e-6 * largest)
        one_round = reply.arrays[name + SCALES].max() / 2
        assert np.abs(value).max() <= one_round * (1 + 1e-6)  # three rounds' errors do not add up


def test_a_quarter_of_the_bytes_as_int8(stores, start, tmp_path):
    whole = make_site(stores[0], tmp_path / "a").answer(ask_round(0, start))
    reply = make_site(stores[0], tmp_path / "b").answer(ask_round(0, start, wire="int8"))
    assert len(reply.arrays) == 2 * len(whole.arrays)
    for name, value in whole.arrays.items():
        assert reply.arrays[name].dtype == np.int8
        assert reply.arrays[name].nbytes == value.nbytes // 4
        assert reply.arrays[name + SCALES].nbytes == 4 * -(-value.size // 256)


def test_what_int8_dropped_before_a_missed_round_is_not_lost(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    arrays = received(start, site.answer(ask_round(0, start, wire="int8")), "int8")
    late = site.answer(ask_round(2, arrays, wire="int8"))
    (tmp_path / "small" / "round-000001" / "kept_back.safetensors").unlink()
    without = site.answer(ask_round(2, arrays, wire="int8"))
    assert late.refusal == without.refusal == "" and not same(late.arrays, without.arrays)


def test_another_study_begins_with_nothing_kept_back(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    first, second = (ask_round(number, start, wire="int8") for number in (0, 1))
    begun = site.answer(first)
    renamed = second.assignment.model_copy(update={"study_id": "other"})
    fresh = make_site(stores[0], tmp_path / "fresh").answer(second)
    assert same(site.answer(Request(TRAIN, renamed, start)).arrays, fresh.arrays)
    assert not same(site.answer(second).arrays, fresh.arrays)
    assert same(site.answer(first).arrays, begun.arrays)  # the same study from its first round


@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
def test_weights_that_are_no_numbers_do_not_leave(stores, start, tmp_path, monkeypatch, wire):
    advance = Training.advance

    def spoilt(self, batches):
        loss = advance(self, batches)
        with torch.no_grad():
            self.model.encoder.patch.weight[0, :2] = torch.tensor([torch.nan, torch.inf])
        return loss

    monkeypatch.setattr(Training, "advance", spoilt)
    reply = make_site(stores[0], tmp_path).answer(ask_round(0, start, steps=1, wire=wire))
    assert reply.refusal.startswith("expected a finite loss, found NaN or infinity in this round")
    assert reply.arrays == {} and rounds_on_disk(tmp_path) == []


def test_half_the_bytes_as_bf16_differences(stores, start, tmp_path):
    whole = make_site(stores[0], tmp_path / "a").answer(ask_round(0, start))
    half = make_site(stores[0], tmp_path / "b").answer(ask_round(0, start, wire="bf16"))
    assert {v.dtype for v in half.arrays.values()} == {np.dtype(np.uint16)}
    for name in half.arrays:
        difference = whole.arrays[name].astype(np.float64) - start[name]
        assert_allclose(
            decode_difference(name, half.arrays, start, "bf16"),
            difference,
            rtol=2**-8,
            atol=1e-9,
        )


@pytest.mark.parametrize("wire", ["fp32", "int8"])
def test_a_repeated_request_gets_the_same_reply(stores, start, tmp_path, wire):
    site = make_site(stores[0], tmp_path)
    first = site.answer(ask_round(0, start, wire=wire))
    arrays = received(start, first, wire)
    request = ask_round(1, arrays, wire=wire)
    replies = [site.answer(request) for _ in range(3)]
    replies.append(make_site(stores[0], tmp_path).answer(request))  # another process
    assert all(same(reply.arrays, replies[0].arrays) for reply in replies)
    assert all(numbers(reply) == numbers(replies[0]) for reply in replies)
    assert rounds_on_disk(tmp_path) == ["round-000001", "round-000002"]
    after = [received(arrays, reply, wire) for reply in replies[:2]]
    last = [site.answer(ask_round(2, weights, wire=wire)) for weights in after]
    assert same(last[0].arrays, last[1].arrays)
    assert rounds_on_disk(tmp_path) == ["round-000002", "round-000003"]


def test_a_study_begun_anew_forgets_the_future(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    arrays, _ = federate(site, start, (2, 2, 2))
    again, _ = federate(site, start, (2, 2, 2))
    assert same(arrays, again)


def test_a_site_that_missed_rounds_goes_on_from_its_latest(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    site.answer(ask_round(0, start))
    late = site.answer(ask_round(2, start))
    fresh = make_site(stores[0], tmp_path / "fresh").answer(ask_round(2, start))
    assert late.refusal == fresh.refusal == ""
    assert not same(late.arrays, fresh.arrays)
    assert rounds_on_disk(tmp_path)[-2:] == ["round-000001", "round-000003"]


@pytest.mark.parametrize(
    ("place", "wire"),
    [
        ("save", "int8"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("save", "fp32"), ("steps", "fp32"), ("steps", "int8"), ("replace", "fp32"),
                ("reply", "fp32"), ("reply", "int8"),
            ]
        ),
    ],
)  # fmt: skip
def test_killed_anywhere_and_asked_again(stores, start, tmp_path, place, wire):
    site = make_site(stores[0], tmp_path / "straight")
    arrays = received(start, site.answer(ask_round(0, start, wire=wire)), wire)
    expected = site.answer(ask_round(1, arrays, wire=wire))
    program = Path(small_sites.__file__)
    variables = environment()
    with subprocess.Popen(
        [sys.executable, str(program), str(stores[0].parent), str(tmp_path / "state"), place,
         wire],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "here\n"  # and now it hangs there
        process.kill()
    assert process.returncode == -signal.SIGKILL
    again = make_site(stores[0], tmp_path / "state")
    reply = again.answer(ask_round(1, arrays, wire=wire))
    assert reply.refusal == "" and same(reply.arrays, expected.arrays)
    assert numbers(reply) == numbers(expected)
    assert rounds_on_disk(tmp_path / "state") == ["round-000001", "round-000002"]
    last = ask_round(2, received(arrays, reply, wire), wire=wire)
    following = [s.answer(last) for s in (site, again)]
    assert same(following[0].arrays, following[1].arrays)


def test_a_loss_that_is_no_number_is_refused_and_saved_nowhere(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    broken = {**start, "encoder.patch.weight": start["encoder.patch.weight"] * np.nan}
    reply = site.answer(ask_round(1, broken))
    assert reply.refusal == (
        "expected a finite loss, found NaN or infinity in this round; lower the learning "
        "rate or set clip_norm, or have its manager look at the scans in its nonfinite.json"
    )
    assert reply.arrays == {} and reply.metrics == {}
    assert rounds_on_disk(tmp_path) == []
    found = json.loads((tmp_path / "small" / "nonfinite.json").read_text())
    assert found["step"] == 2 and len(found["people"]) == 4
    assert all(name.startswith("site-01/sub-01") for name in found["people"])


def test_weights_of_another_model_are_refused(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    lacking = {k: v for k, v in start.items() if k != "predictor.mask_token.weight"}
    wide = {**start, "encoder.patch.weight": np.zeros((9, 4), np.float32)}
    double = {**start, "encoder.patch.weight": start["encoder.patch.weight"].astype(np.float64)}
    for arrays, name in ((lacking, "predictor.mask_token.weight"), (wide, "encoder.patch.weight"),
                         (double, "encoder.patch.weight")):  # fmt: skip
        reply = site.answer(ask_round(0, arrays))
        assert reply.refusal == (
            f"expected {len(start) - 2} float32 weights of the study's model, found 1 missing or "
            f"of another shape or dtype ({name}); check study and versions"
        )
    reply = site.answer(ask_round(0, {**start, "basis": np.zeros((7, 3), np.float32)}))
    assert reply.refusal == (
        "expected a float32 basis of shape [8, 3] (this site's atlas has 8 ROIs), found float32 "
        "of shape [7, 3]; give all sites one atlas"
    )
    reply = site.answer(ask_round(0, {}))
    assert "found none; give all sites one atlas" in reply.refusal


def test_state_of_other_settings_or_damaged_is_refused(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    site.answer(ask_round(0, start))
    reply = site.answer(ask_round(1, start, make_study(clip_norm=1.0)))
    assert reply.refusal == (
        "expected pretraining.training.clip_norm = None as when this site first answered the "
        "study, found 1.0; go on with the first settings, or give the study a new name"
    )
    (tmp_path / "small" / "round-000001" / "optimizer.safetensors").write_bytes(b"half")
    reply = site.answer(ask_round(1, start))
    assert reply.refusal == (
        "expected a readable state of round 1 at this site, found damage, or another "
        "format; its manager should restore or remove it"
    )
    assert site.answer(ask_round(0, start)).refusal == ""


STOPPED = (
    "this site was stopped before its answer was done, and kept the state of the round before; "
    "ask again once it is back"
)


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_stop_ends_training_between_two_steps_and_the_same_request_goes_on(
    stores, start, tmp_path, monkeypatch, earlier
):
    undisturbed, stopped = (make_site(stores[0], tmp_path / name) for name in "ab")
    arrays, _ = federate(undisturbed, start, [3] * earlier)
    federate(stopped, start, [3] * earlier)
    request = ask_round(earlier, arrays, steps=3)
    expected = undisturbed.answer(request)
    done: list[int] = []
    advance = Training.advance
    monkeypatch.setattr(
        Training, "advance", lambda self, b: done.append(self.step) or advance(self, b)
    )
    with stopping_when(lambda: len(done) == 2):
        reply = stopped.answer(request)
    assert done == [3 * earlier, 3 * earlier + 1]
    assert reply.refusal == STOPPED and reply.arrays == {}
    assert len(rounds_on_disk(tmp_path / "b")) == earlier
    again = stopped.answer(request)
    assert again.refusal == "" and same(again.arrays, expected.arrays)
