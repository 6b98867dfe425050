"""BrainMass: its connectivity against nilearn's, what is drawn, what is trained, what it mixes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nilearn.connectome import ConnectivityMeasure
from small_runs import People, make_recipe, small_model

from brainjepa_core.models.brainmass.settings import BrainMassSettings
from brainjepa_core.models.brainmass.views import draw_views
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.connectivity import shrunk_correlation
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.gradient import ClippedGradients
from brainjepa_server.settings import StudySettings


@pytest.mark.parametrize("frames", [12, 60, 400])
def test_connectivity_is_that_of_nilearn_of_what_is_there(frames):
    chance = np.random.default_rng(frames)
    x = chance.standard_normal((3, 9, frames)) @ np.diag(chance.uniform(1, 2, frames))
    x[:, 1:4] += 2 * chance.standard_normal((3, 1, frames))  # something to find
    x = 50 + 3 * x
    counted, rois = np.ones((3, frames), bool), np.ones((3, 9), bool)
    counted[1, chance.permutation(frames)[: frames // 5]] = False
    rois[1, 2] = rois[2, [0, 8]] = False
    x[~rois] = np.nan_to_num(np.inf)  # whatever it holds
    x[2, 5] = 7.0  # an ROI that is there and constant
    found = shrunk_correlation(*(torch.tensor(a) for a in (x, counted, rois))).numpy()
    rois[2, 5] = False
    for row in range(3):
        there = np.ix_(rois[row], rois[row])
        series = x[row][rois[row]][:, counted[row]].T
        z = (series - series.mean(0)) / series.std(0)  # as its default does, with a warning
        measure = ConnectivityMeasure(kind="correlation", standardize=False)
        expected = measure.fit_transform([z])[0]
        assert np.abs(found[row][there] - expected).max() < 1e-6
        found[row][there] = 0
        assert not found[row].any()


SHAPE = BrainMassSettings.preset("tiny", rois=9, frames=24, patch=4, components=2)


@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**40), ragged=st.booleans())
def test_what_is_drawn_is_there_and_a_function_of_the_sample(seed, step, ragged):
    valid = np.ones((3, 9, 6), bool)
    valid[1, [0, 3, 4, 5, 8]] = valid[2, :, 4:] = False
    given_ = valid.reshape(3, -1) if ragged else None
    draws = draw_views(SHAPE, seed=seed, step=step, samples=[5, 6, 7], token_valid=given_)
    frames, rois = valid.any(1).repeat(4, 1), valid.any(2)
    if not ragged:
        frames[:], rois[:] = True, True
    views = draws["view_frames"].numpy()
    assert views.shape == (3, 2, 24) and not (views & ~frames[:, None]).any()
    assert (views.sum(2) == np.rint(0.8 * frames.sum(1))[:, None]).all()
    assert (views[:, 0] != views[:, 1]).any()
    for name, most in (("contrasted", 10), ("rebuilt", 5)):
        for row in range(3):
            real = draws[f"{name}_valid"]
            chosen = draws[name][row] if real is None else draws[name][row][real[row]]
            assert len(set(chosen.tolist())) == len(chosen) == min(most, rois[row].sum() // 2)
            assert rois[row][chosen].all()
    alone = draw_views(
        SHAPE,
        seed=seed,
        step=step,
        samples=[6],
        token_valid=None if given_ is None else given_[1:2],
    )
    assert torch.equal(alone["view_frames"][0], draws["view_frames"][1])
    count = alone["contrasted"].shape[1]
    assert torch.equal(alone["contrasted"][0], draws["contrasted"][1, :count])


def test_too_little_to_correlate_is_told():
    valid = np.zeros((1, 9, 6), bool)
    valid[0, 0, 0] = True
    text = "expected at least 3 frames in every view and 2 ROIs, found 3 frames and 1 ROIs; leave"
    with pytest.raises(ValueError, match=text):
        draw_views(
            SHAPE,
            seed=0,
            step=0,
            samples=[0],
            token_valid=valid.reshape(1, -1),
        )


@pytest.mark.parametrize(("rois", "heads"), [(450, 10), (100, 10), (424, 8), (7, 7), (13, 1)])
def test_as_many_heads_as_divide_the_rois(rois, heads):
    assert BrainMassSettings.preset("base", rois=rois).heads_of_trunk == heads


def trained(model: BrainModel, steps: int = 3) -> BrainModel:
    training = Training(model, make_recipe())
    for step in range(steps):
        training.advance(batches_of_step(People(ragged=True), model, training.settings, step))
    return model


def test_masks_are_trained_by_default_and_stay_as_drawn_in_the_published_recipe():
    for recipe in ("default", "published"):
        new = small_model("brainmass", recipe=recipe)
        start = {name: p.clone() for name, p in new.named_parameters()}
        model = trained(new)
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
        sent = set(model.roles.sent(start, with_followers=False))
        assert moved == {n for n in start if n in sent or model.roles.is_follower(n)}
        masks = {n for n in start if n.split(".")[0] in ("mask_tokens", "contrast_head")}
        assert masks and (masks <= sent) == (recipe == "default") and sent


def test_targets_follow_by_their_share():
    model = small_model("brainmass")
    leader, follower = model.projector[0].weight, model.target_projector[0].weight
    old = follower.clone()
    leader.data.add_(1.0)
    model.after_step(0.9)
    assert torch.allclose(follower, old + 0.1)


def test_there_is_nothing_of_a_batch_to_average():
    for recipe in ("default", "published"):
        model = small_model("brainmass", recipe=recipe)
        assert {name for name, _ in model.named_buffers()} == {"basis", "positions"}
        assert all(value.dtype == torch.float32 for value in model.state_dict().values())


def test_normalised_batches_mix_people_and_are_refused_where_that_must_not_be():
    model = small_model("brainmass", recipe="published")
    (batch,) = batches_of_step(People(), model, make_recipe(), 0)
    whole = model.sample_losses(batch.x, **batch.draws)
    half = {name: None if v is None else v[:2] for name, v in batch.draws.items()}
    assert not torch.allclose(model.sample_losses(batch.x[:2], **half), whole[:2])
    alone = {name: None if v is None else v[:1] for name, v in batch.draws.items()}
    with pytest.raises(ValueError, match="at least 2 people in a micro-batch that is normalised"):
        model.sample_losses(batch.x[:1], **alone)
    text = "expected a model whose loss of a person depends on nobody else .* set norm: layer"
    with pytest.raises(ValueError, match=text):
        ClippedGradients(model, make_recipe(), 1.0, torch.device("cpu"))
    private = {
        "name": "private", "protect": "dp", "privacy": {"noise": 1.0},
        "start_from": {"model": "somewhere"},
        "pretraining": {"family": "brainmass"},
    }  # fmt: skip
    assert StudySettings.model_validate(private)
    private["pretraining"]["recipe"] = "published"
    with pytest.raises(ValueError, match=text):
        StudySettings.model_validate(private)


def test_the_published_embedding_is_every_roi_side_by_side():
    model = small_model("brainmass")
    x = torch.randn(2, 6, 12)
    whole = torch.ones(2, 12, dtype=torch.bool), torch.ones(2, 6, dtype=torch.bool)
    expected = model.encoder.features(shrunk_correlation(x, *whole)).flatten(1)
    pool = model.settings.published_pool
    assert torch.allclose(model.embed(x, pool), expected, atol=1e-6)
