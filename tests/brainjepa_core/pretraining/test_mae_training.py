"""Training of the masked autoencoder: the JEPA's people and steps, and a model like a JEPA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from small_runs import FRAMES, PATCH, PROVENANCE, ROIS, SIZES, People

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import read_model, write_model
from brainjepa_core.pretraining.mae_training import (
    mae_batches_of_step,
    new_mae_training,
    pretrain_mae,
)
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings

BASIS = ConsensusBasis(
    tuple("abcdef"), np.random.default_rng(0).standard_normal((ROIS, 2)), np.ones(2)
)


def make_study(steps: int = 6, **training) -> PretrainingSettings:
    sizes = {k: v for k, v in SIZES.items() if k not in ("frames", "components")}
    schedule = {"total_steps": steps, "warmup_steps": 2, "lr": 0.01}
    return PretrainingSettings.model_validate(
        {
            "model": sizes,
            "windows": {"frames": FRAMES},
            "basis": {"components": 2},
            "training": {"batch_size": 4, "schedule": schedule, **training},
        }
    )


@dataclass(frozen=True)
class Together(People):
    """Everybody's ROIs follow one slow wave, of a phase and sign of its own in each person."""

    def batch(self, subjects, seeds):
        noise, frames, rois = super().batch(subjects, seeds)
        phase = np.array(subjects)[:, None] + np.arange(FRAMES) / 3
        wave = np.sqrt(2) * np.sin(phase)[:, None]
        return (wave + 0.1 * noise).astype(np.float32), frames, rois


def same(a, b) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_the_loss_falls_where_visible_patches_tell_of_the_masked_ones():
    losses = []
    study = make_study(120)
    pretrain_mae(Together(), study, BASIS, on_step=lambda _, loss: losses.append(float(loss)))
    assert np.mean(losses[:3]) > 0.8  # unit variance, which zero would predict
    assert np.mean(losses[-10:]) < 0.5


def test_steps_are_those_of_a_training_with_its_batches():
    study, losses = make_study(accumulation=2), {}
    model = pretrain_mae(People(ragged=True), study, BASIS, on_step=losses.__setitem__)
    training = new_mae_training(study, BASIS)
    for step in range(6):
        batches = mae_batches_of_step(
            People(ragged=True), training.model.settings, study.training, step
        )
        assert training.advance(batches) == losses[step]
    assert same(model.encoder, training.model.encoder)
    assert same(model.target_encoder, training.model.encoder)


def test_deterministic_in_the_seed_and_stoppable():
    study = make_study()
    first, again = (pretrain_mae(People(), study, BASIS, steps=3) for _ in range(2))
    other = pretrain_mae(People(), make_study(seed=1), BASIS, steps=3)
    longer = pretrain_mae(People(), study, BASIS)
    assert same(first, again)
    assert not same(first.encoder, other.encoder) and not same(first.encoder, longer.encoder)
    assert same(first.predictor, study.new_model(BASIS).predictor)


def test_it_starts_from_the_encoder_of_the_studys_jepa():
    study = make_study()
    untrained, jepa = pretrain_mae(People(), study, BASIS, steps=0), study.new_model(BASIS)
    assert same(untrained, jepa)


def test_people_and_windows_are_those_of_the_jepa():
    study = make_study(accumulation=2)
    settings = study.model_settings(ROIS)
    ours = mae_batches_of_step(People(ragged=True), settings, study.training, 2)
    jepa = batches_of_step(People(ragged=True), settings, study.training, 2)
    assert [len(batch.x) for batch in ours] == [2, 2]
    assert all(torch.equal(a.x, b.x) for a, b in zip(ours, jepa, strict=True))


def test_tokens_without_a_signal_are_neither_seen_nor_asked_for():
    study = make_study(batch_size=5)
    (batch,) = mae_batches_of_step(
        People(ragged=True), study.model_settings(ROIS), study.training, 0
    )
    signal = batch.x.reshape(5, -1, PATCH).abs().sum(-1) > 0
    assert not signal.all()
    for index, valid in (
        (batch.context_index, batch.context_valid),
        (batch.target_index, batch.target_valid),
    ):
        seen = signal.gather(1, index)
        assert bool((seen if valid is None else seen | ~valid).all())


def test_the_result_is_saved_and_read_like_a_jepa(tmp_path):
    model = pretrain_mae(People(), make_study(), BASIS, steps=1)
    write_model(tmp_path / "mae", model, PROVENANCE)
    read, _ = read_model(tmp_path / "mae")
    x = torch.randn(2, ROIS, FRAMES)
    torch.testing.assert_close(read.embed(x), model.embed(x))


def test_a_loss_that_is_no_number():
    with pytest.raises(ValueError, match=r"expected a finite loss .* NaN or infinity at step 0"):
        pretrain_mae(People(broken=2), make_study(batch_size=5), BASIS, steps=2)
