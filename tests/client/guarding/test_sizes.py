"""A site's policy bounds what a study may ask of its machines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from small_sites import ROIS, STUDY, ask, ask_round, make_site, make_study, rounds_on_disk

from brainjepa_client.computing import training as training_module
from brainjepa_client.guarding.dry_run import dry_run
from brainjepa_client.guarding.policy import require_size
from brainjepa_client.guarding.sizes import KEPT, StudySize
from brainjepa_client.settings import PolicySettings
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.settings import RECIPES
from brainjepa_core.models.parts.settings import PRESETS
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS


def with_model(**sizes) -> PretrainingSettings:
    return STUDY.model_copy(update={"model": {**STUDY.model, **sizes}})


def with_frames(frames: int) -> PretrainingSettings:
    windows = STUDY.windows.model_copy(update={"frames": frames})
    return STUDY.model_copy(update={"windows": windows})


LARGE = {
    "width": (
        with_model(width=4096),
        "a model's width of at most 1280 (policy.max_width), found",
    ),
    "predictor": (with_model(predictor_width=2048), "(policy.max_width), found 2048; make the st"),
    "inner layer": (with_model(mlp_ratio=1000), "(policy.max_width), found 2000; make the study"),
    "depth": (
        with_model(depth=1000),
        "a model's depth of at most 32 (policy.max_depth), found 10",
    ),
    "predictor's depth": (with_model(predictor_depth=33), "(policy.max_depth), found 33; make the"),
    "frames": (
        with_frames(10**6),
        "windows.frames of at most 2000 (policy.max_frames), found 1e",
    ),
    "batch": (
        make_study(batch_size=10**5),
        "training.batch_size of at most 1024 (policy.max_batch_size), found 100000; make the study",
    ),
    "masks": (
        make_study(masks={"masks_per_sample": 1000}),
        "training.masks.masks_per_sample of at most 16 (policy.max_masks_per_sample), found 1000",
    ),
}


@pytest.mark.parametrize("what", LARGE)
@pytest.mark.parametrize("kind", [GRADIENTS, EVALUATE, "train"])
def test_a_study_too_large_is_refused_by_the_line_of_the_policy(stores, tmp_path, what, kind):
    study, text = LARGE[what]
    site = make_site(stores[0], tmp_path)
    request = ask_round(0, {}, study) if kind == "train" else ask(kind, {}, study)
    reply = site.answer(request)
    assert reply.refusal.startswith("this site's policy allows ") and text in reply.refusal
    assert site.answer(ask(DESCRIBE, study=study)).refusal == ""


def test_a_dry_run_shows_the_refusal_although_it_takes_smaller_steps(stores, tmp_path):
    settings = make_site(stores[0], tmp_path / "state", max_batch_size=3).settings
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude={"prepare"})))
    rows = {row.message: row for row in dry_run(file, STUDY).rows}
    assert rows[DESCRIBE].what != "refused"
    others = [row for message, row in rows.items() if message != DESCRIBE]
    assert len(others) > 3 and all(row.what == "refused" for row in others)
    assert all(row.policy[0].field == "max_batch_size" for row in others)


def test_memory_and_disk_are_bounded(stores, start, tmp_path):
    size = StudySize.of(STUDY, ROIS)
    limits = {"max_memory_gb": size.memory / 1e9, "max_disk_gb": size.disk / 1e9}
    assert not make_site(stores[0], tmp_path, **limits).answer(ask_round(0, start)).refusal
    for line, limit in limits.items():
        less = make_site(stores[0], tmp_path, **{line: 0.9 * limit}).answer(ask_round(0, start))
        assert less.refusal.startswith("this site's policy allows ")
        assert f"(policy.{line}), and the study takes about {limit:.3g}; make the" in less.refusal


AGE = {"phenotypes": [{"column": "age", "mean": 40, "sd": 20}]}
NEEDED = dict.fromkeys(["brainnetcnn", "brain_network_transformer", "braingnn"], AGE)


@pytest.mark.parametrize("masks", [1, 3])
@pytest.mark.parametrize(
    "family",
    [
        "brain_jepa",
        "masked_autoencoder",
        "person_jepa",
        "brainmass",
        "csm",
        "brainlm",
        "brainnetcnn",
        "brain_network_transformer",
        "braingnn",
    ],
)
def test_what_is_estimated_is_what_a_step_takes_or_somewhat_more(family, masks):
    """Against the bytes that the backward pass keeps, and those of the arrays."""
    study = PretrainingSettings(
        family=family, preset="tiny", windows={"frames": 160}, model=NEEDED.get(family, {}),
        training={"batch_size": 4, "schedule": {"total_steps": 9, "warmup_steps": 1},
                  "masks": {"masks_per_sample": masks}},
    )  # fmt: skip
    rois = 20
    gradients = np.random.default_rng(0).standard_normal((rois, study.basis.components))
    basis = ConsensusBasis(tuple(map(str, range(rois))), gradients, np.full(30, np.nan))
    training = study.new_training(basis)
    kept: dict[int, int] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        if not isinstance(saved, torch.nn.Parameter):
            storage = saved.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    x = torch.randn(4, rois, 160)
    draws = training.model.draw(
        study.training.masks, seed=0, step=0, samples=range(4), token_valid=None
    )
    draws = {k: torch.as_tensor(v) for k, v in draws.items() if v is not None}
    if study.model:
        draws["told"] = torch.zeros(4, 1)
    if training.model.settings.predicts_rest:
        draws["rest"] = torch.zeros(4, rois, rois)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        loss = training.model.sample_losses(x, **draws).mean()
    trained = [p for p in training.model.parameters() if p.requires_grad]
    weights = sum(p.numel() for p in training.model.parameters())
    needed = 4 * (weights + 3 * sum(p.numel() for p in trained)) + sum(kept.values())
    assert loss.requires_grad
    estimate = StudySize.of(study, rois)
    print(f"{family}, {masks}: {needed / 1e6:.1f} MB, estimate {estimate.memory / 1e6:.1f} MB")
    assert 0.8 * needed <= estimate.memory <= 5 * needed
    moments = 2 * sum(p.numel() for p in trained)
    state = 4 * (moments + weights - sum(p.numel() for p in trained))
    assert 0.8 * state <= estimate.disk / (KEPT + 1) <= 1.6 * state


def test_a_round_that_takes_too_long_ends_after_a_step(stores, start, tmp_path, monkeypatch):
    site = make_site(stores[0], tmp_path, max_minutes_a_round=10)
    assert not site.answer(ask_round(0, start)).refusal
    before = rounds_on_disk(tmp_path)
    now, steps, real = [0.0], [], training_module.Training.advance

    def slow(training, batches):
        steps.append(training.step)
        now[0] += 601
        return real(training, batches)

    monkeypatch.setattr(training_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training_module.Training, "advance", slow)
    assert site.answer(ask_round(1, start)).refusal == (
        "this site's policy allows 10 minutes a round (policy.max_minutes_a_round), and this one "
        "takes longer; ask for fewer steps a round, or its manager"
    )
    assert len(steps) == 1 and rounds_on_disk(tmp_path) == before
    monkeypatch.undo()
    assert not site.answer(ask_round(1, start)).refusal  # the state was kept


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_shipped_size_is_within_the_defaults(preset, recipe):
    require_size(PolicySettings(), PretrainingSettings(preset=preset, recipe=recipe))


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("max_width", 8),
        ("max_depth", 1),
        ("max_frames", 16),
        ("max_batch_size", 4),
        ("max_masks_per_sample", 1),
    ],
)
def test_the_limit_itself_is_allowed(stores, start, tmp_path, line, limit):
    reply = make_site(stores[0], tmp_path, **{line: limit}).answer(ask_round(0, start))
    assert reply.refusal == ""
    if limit > 1:
        less = make_site(stores[0], tmp_path, **{line: limit - 1}).answer(ask_round(0, start))
        assert f"of at most {limit - 1} (policy.{line}), found {limit};" in less.refusal
