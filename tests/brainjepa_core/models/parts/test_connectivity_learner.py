"""Networks on windows' connectivity: as nilearn makes it, of one person, of what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nilearn.connectome import ConnectivityMeasure
from numpy.testing import assert_allclose
from pydantic import ValidationError
from sklearn.covariance import LedoitWolf
from torch.func import functional_call, grad, vmap

from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.connectivity import partial_correlation, shrunk_correlation
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import family_named, learners
from brainjepa_core.pretraining.settings import PretrainingSettings

AGE = {"column": "age", "mean": 40.0, "sd": 20.0}
SEX = {"column": "sex", "classes": [["M", 1], ["F", 2]]}
R, T = 6, 24
SCHEDULE = {"total_steps": 4, "warmup_steps": 1}
LEARNERS = ("brainnetcnn", "brain_network_transformer", "braingnn")


def made(name: str, **choices) -> ConnectivityLearner:
    settings = family_named(name).settings.preset(
        "tiny", rois=R, frames=T, patch=4, components=2, phenotypes=[AGE, SEX], **choices
    )
    model = family_named(name).new(settings, torch.zeros(R, 2), seed=0)
    assert isinstance(model, ConnectivityLearner)
    return model


def windows(people: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(people, R, R) @ torch.randn(people, R, T)


def test_all_that_learn_from_labels_alone():
    found = {name: family_named(name).learner for name in LEARNERS}
    assert all(found.values()) and list(learners().items()) == list(found.items())


def test_partial_correlation_is_nilearns():
    x, everything = windows(), torch.ones(3, R, dtype=torch.bool)
    x = (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True, correction=0)
    shrunk = shrunk_correlation(x.double(), torch.ones(3, T, dtype=torch.bool), everything)
    measure = ConnectivityMeasure(LedoitWolf(store_precision=False), kind="partial correlation")
    expected = measure.fit_transform([w.T for w in x.double().numpy()])
    assert_allclose(partial_correlation(shrunk) + torch.eye(R), expected, atol=1e-8)


def test_an_roi_that_is_not_there_goes_with_none_and_takes_nothing():
    x, known = windows().double(), torch.ones(3, R, dtype=torch.bool)
    known[:, 2] = False
    frames = torch.ones(3, T, dtype=torch.bool)
    found = partial_correlation(shrunk_correlation(x, frames, known))
    rest = [0, 1, 3, 4, 5]
    alone = partial_correlation(shrunk_correlation(x[:, rest], frames, known[:, rest]))
    assert torch.allclose(found[:, rest][:, :, rest], alone, atol=1e-12)
    assert not found[:, 2].any() and not found[:, :, 2].any()


@pytest.mark.parametrize("name", LEARNERS)
def test_who_tells_nothing_moves_nothing(name):
    model, x = made(name), windows()
    told = torch.tensor([[0.5, 1.0], [math.nan, -1.0], [math.nan, math.nan]])
    losses = model.sample_losses(x, told)
    assert losses[2] == 0 and torch.isfinite(losses).all()
    model.sample_losses(x, told)[2].backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    outputs, added = model.encoder.network.learned(model.encoder.arguments(x, None), None)
    assert torch.equal(outputs, model.outputs(x))
    expected = (outputs[1, 1] + 1) ** 2 / 2 + added[1]
    assert float(losses[1].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_nodes_of_windows_are_tokens_at_all_times(name):
    model, x = made(name), windows()
    tokens = model.encode(x).unflatten(1, (R, -1))
    assert torch.equal(tokens, tokens[:, :, :1].expand_as(tokens))
    nodes = model.encoder.network.nodes(*model.encoder.arguments(x, None))
    assert torch.equal(tokens[:, :, 0], nodes)
    scaled = model.outputs(x * torch.rand(3, R, 1).add(0.5) + 7)  # as connectivity is
    assert torch.allclose(scaled, model.outputs(x), atol=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_network_learns_the_connectivity_that_tells(name):
    torch.manual_seed(0)
    strength = torch.randn(64)
    common, own = torch.randn(64, 1, T), torch.randn(64, R, T)
    share = torch.sigmoid(2 * strength)[:, None, None].expand(-1, R, 1).clone()
    share[:, 3:] = 0.0
    x = share * common + (1 - share) * own
    told = torch.stack([strength, torch.full((64,), math.nan)], 1)
    model = made(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model.sample_losses(x, told).mean().backward()
        optimizer.step()
    r = np.corrcoef(model.outputs(x)[:, 0].detach(), strength)[0, 1]
    assert r > 0.8


@pytest.mark.parametrize("name", LEARNERS)
def test_adapters_and_missing_phenotypes_are_refused(name):
    with pytest.raises(ValidationError, match=r"learns from labels alone; set training.train: all"):
        made(name, adapters=2)
    with pytest.raises(ValueError, match="phenotypes"):
        PretrainingSettings(family=name, windows={"frames": T})
    with pytest.raises(ValueError, match="learns from labels alone"):
        PretrainingSettings(
            family=name, windows={"frames": T}, model={"patch": 4, "phenotypes": [AGE]},
            training={"train": "adapters", "batch_size": 4, "schedule": SCHEDULE},
        )  # fmt: skip


def test_ranks_are_of_people_with_all_rois():
    """A private step counts 0 of others: it tells nobody that somebody lacks an ROI."""
    ranks, rois = made("braingnn", recipe="published"), made("braingnn")
    valid = np.ones((3, R * T // 4), bool)
    how = {"masks": MaskSettings(), "seed": 0, "step": 0, "samples": range(3)}
    valid[1, 1 : T // 4] = False  # of an ROI that is there
    assert ranks.draw(**how, token_valid=valid) == ranks.draw(**how, token_valid=None) == {}
    valid[1, 0] = False
    assert rois.draw(**how, token_valid=valid) == {}
    with pytest.raises(ValueError, match=r"^expected people of equal ROIs where .* by rank"):
        ranks.draw(**how, token_valid=valid)


@pytest.mark.parametrize("signal", [True, False])
@pytest.mark.parametrize(
    ("name", "recipe", "lacking"),
    [*((name, "default", True) for name in LEARNERS), ("braingnn", "published", False)],
)
def test_gradients_of_single_people_side_by_side_are_their_own(name, recipe, lacking, signal):
    """As differential privacy takes them; also where a window shows no connectivity at all."""
    model = made(name, recipe=recipe)
    x = windows() if signal else torch.randn(3, R, T)
    told, valid = torch.randn(3, 2), torch.ones(3, R * T // 4, dtype=torch.bool)
    valid[1, 0 if lacking else 1 : T // 4] = False
    arrays = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(arrays, one, told, valid):
        given = {"told": told[None], "token_valid": valid[None]}
        return functional_call(model, (arrays, buffers), (one[None],), given)[0]

    found = vmap(grad(loss), in_dims=(None, 0, 0, 0))(arrays, x, told, valid)
    for i in range(3):
        one = slice(i, i + 1)
        model.zero_grad()
        model.sample_losses(x[one], told[one], valid[one]).sum().backward()
        own = torch.cat([p.grad.flatten() for p in model.parameters()])
        theirs = torch.cat([found[name][i].flatten() for name, _ in model.named_parameters()])
        assert (theirs - own).norm() <= 1e-3 * own.norm()
