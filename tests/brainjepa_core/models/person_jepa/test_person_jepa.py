"""The person's objective: against numpy, one person at a time; at the start, the signals' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.person_jepa.coordinates import coordinates, directions_of
from brainjepa_core.models.person_jepa.model import PersonJEPA
from brainjepa_core.models.person_jepa.settings import PersonJepaSettings
from brainjepa_core.models.registry import family_named

ROIS, FRAMES, PATCH, B = 7, 24, 4, 5
SIZES = dict(rois=ROIS, frames=FRAMES, patch=PATCH, components=3, width=8, heads=2, directions=3)


def model_of(depth: int = 1, live: bool = False, **choices) -> PersonJEPA:
    """An untrained model in float64; with weights off their start where it is live."""
    torch.manual_seed(0)
    settings = PersonJepaSettings(**{**SIZES, "depth": depth, **choices})
    model = PersonJEPA(settings, torch.randn(ROIS, 3)).double()
    if live:
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((B, ROIS, ROIS)) @ rng.standard_normal((B, ROIS, FRAMES))
    z = 0.3 * rng.standard_normal((B, ROIS, ROIS))
    z = z + z.transpose(0, 2, 1)
    z[:, np.arange(ROIS), np.arange(ROIS)] = 0
    return torch.from_numpy(x), torch.from_numpy(z)


def z_of(x: Float64) -> Float64:
    r = np.corrcoef(x)
    np.fill_diagonal(r, 0)
    return np.arctanh(r)


@pytest.mark.parametrize("depth", [0, 2])
def test_at_the_start_latent_connectivity_is_that_of_the_signals(depth):
    x, _ = data()
    found = model_of(depth).latent_fisher_z(x).detach().numpy()
    for own, window in zip(found, x.numpy(), strict=True):
        np.testing.assert_allclose(own, z_of(window), atol=1e-4)


def test_the_loss_is_that_of_numpy():
    model, (x, rest) = model_of(0, live=True), data()
    e = model.encoder
    power, weight, bias = (
        p.detach().numpy() for p in (e.evenness.power, e.patch.weight, e.patch.bias)
    )
    basis = np.c_[np.ones(ROIS), model.basis.numpy()]
    directions = np.zeros((ROIS, 0))
    for column in basis.T:  # Gram and Schmidt
        left = column - directions @ (directions.T @ column)
        directions = np.c_[directions, left / np.linalg.norm(left)]
    directions = directions[:, :3]
    losses = []
    for window, z in zip(x.numpy(), rest.numpy(), strict=True):
        centred = window - window.mean(1, keepdims=True)
        energy = (centred**2).mean(0) + 1e-3
        even = centred / (energy / energy.mean()) ** (power / 2)
        tokens = np.concatenate(
            [even[:, i : i + PATCH] @ weight.T for i in range(0, FRAMES, PATCH)], axis=1
        )
        assert bias.any()  # which the blank response takes out
        unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        r = unit @ unit.T
        np.fill_diagonal(r, 0)
        seen, told = directions.T @ np.arctanh(r) @ directions, directions.T @ z @ directions
        whole = directions.T @ (np.tanh(z) + np.eye(ROIS)) @ directions
        terms, place = [], 0
        for i in range(3):
            for j in range(i + 1):
                scale = 1 if i == j else np.sqrt(2)
                slope, level = (p[place].item() for p in model.head.parameters())
                error = slope * scale * seen[i, j] + level - scale * told[i, j]
                terms.append(error**2 / max(whole[i, i], 1e-3) / max(whole[j, j], 1e-3))
                place += 1
        losses.append(np.mean(terms))
    found = model.sample_losses(x, rest).detach().numpy()
    np.testing.assert_allclose(found, losses, rtol=1e-5)  # directions are kept in float32


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_loss_is_of_one_person_whoever_else_is_there(depth, ragged):
    model, (x, rest) = model_of(depth, live=True), data()
    valid = torch.ones(B, ROIS * FRAMES // PATCH, dtype=torch.bool)
    if ragged:
        valid.view(B, ROIS, -1)[1, 2] = False
        valid.view(B, ROIS, -1)[3, :, -1] = False
    together = model.sample_losses(x, rest, valid)
    for i in range(B):
        alone = model.sample_losses(x[i : i + 1], rest[i : i + 1], valid[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=0)
    if not ragged:
        torch.testing.assert_close(model.sample_losses(x, rest), together, rtol=1e-9, atol=0)


def test_what_is_missing_on_either_side_counts_nothing():
    model, (x, rest) = model_of(2, live=True), data()
    valid = torch.ones(B, ROIS * FRAMES // PATCH, dtype=torch.bool)
    valid.view(B, ROIS, -1)[:, 2] = False  # the window lacks an ROI, the rest another one
    rest[:, 4] = rest[:, :, 4] = torch.nan
    rest[:, 4, 4] = 0
    first = model.sample_losses(x, rest, valid)
    other_x, other_rest = x.clone(), rest.clone()
    other_x[:, 2] = 17.0 * torch.randn(B, FRAMES)
    other_rest[:, 2] = other_rest[:, :, 2] = 0.7
    other_rest[:, 2, 2] = 0
    torch.testing.assert_close(model.sample_losses(other_x, other_rest, valid), first)
    first.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_padded_frames_count_nothing():
    model, (x, rest) = model_of(2, live=True), data()
    valid = torch.ones(B, ROIS, FRAMES // PATCH, dtype=torch.bool)
    valid[:, :, -2:] = False
    first = model.sample_losses(x, rest, valid.flatten(1))
    other = x.clone()
    other[..., -2 * PATCH :] = 9.0
    torch.testing.assert_close(model.sample_losses(other, rest, valid.flatten(1)), first)


def test_nothing_known_of_the_rest_is_a_finite_loss():
    model, (x, rest) = model_of(2, live=True), data()
    losses = model.sample_losses(x, torch.full_like(rest, torch.nan))
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(model.encoder.patch.weight.grad).all()


def test_a_silent_window_has_a_finite_loss():
    model, (x, rest) = model_of(2, live=True), data()
    losses = model.sample_losses(torch.zeros_like(x), rest)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_a_window_s_level_and_unit_tell_nothing():
    model, (x, rest) = model_of(2), data()
    first = model.sample_losses(x, rest)
    torch.testing.assert_close(model.sample_losses(x + 5.0, rest), first)


def test_what_is_read_is_what_was_trained():
    """Evaluation reads, by its own code, the connectivity that the loss compares."""
    model, (x, _) = model_of(2, live=True).float(), data()
    reader, known = LatentReader(model), np.ones(ROIS, bool)
    seen = model.latent_fisher_z(x.float()).detach().numpy()
    for z, window in zip(seen, x.numpy(), strict=True):
        r = reader.of_window(window, known)
        np.testing.assert_allclose(np.tanh(z)[~np.eye(ROIS, dtype=bool)],
                                   r[~np.eye(ROIS, dtype=bool)], atol=1e-4)  # fmt: skip


def test_directions_are_orthonormal_in_order_and_on_the_side_of_their_gradients():
    basis = torch.randn(ROIS, 3)
    found = directions_of(basis, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, 0], torch.full((ROIS,), ROIS**-0.5))
    assert (found[:, 1] @ basis[:, 0]) > 0 and (found[:, 2] @ basis[:, 1]) > 0
    assert abs(float(found[:, 2] @ basis[:, 0])) < 1e-6
    assert directions_of(basis, 20).shape == (ROIS, 4)
    z = torch.randn(2, ROIS, ROIS)
    z = z + z.mT
    seen = found.T @ z @ found
    torch.testing.assert_close(coordinates(z, found).square().sum(1), seen.square().sum((1, 2)))


def test_everything_that_learns_is_sent_and_what_does_not_is_frozen():
    model, (x, rest) = model_of(2), data()
    model.sample_losses(x, rest).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == model.roles.is_trained(name), name
    assert not model.roles.is_trained("encoder.norm.weight")


def test_without_blocks_any_family_trains_and_reads_what_it_is_asked_for():
    for family in ("brain_jepa", "masked_autoencoder", "person_jepa"):
        found = family_named(family)
        shape = found.settings.preset(
            "tiny", rois=ROIS, frames=FRAMES, patch=PATCH, components=3, depth=0, width=8, heads=2
        )
        model = found.new(shape, torch.randn(ROIS, 3), seed=0)
        x, rest = (a.float() for a in data())
        draws = model.draw(MaskSettings(), seed=0, step=0, samples=range(B), token_valid=None)
        draws |= {"rest": rest} if shape.predicts_rest else {}
        model.sample_losses(x, **draws).sum().backward()
        index = torch.tensor([[3, 1]]).expand(B, 2)
        torch.testing.assert_close(model.latents(x, index), model.latents(x)[:, [3, 1]])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match="width to be a multiple of 4 and of heads, found width 10"
    ):
        PersonJepaSettings(**{**SIZES, "depth": 1, "width": 10, "heads": 5})
    with pytest.raises(
        ValueError, match="predictor_width to be a multiple of 4 and of predictor_he"
    ):
        BrainJepaSettings.preset("tiny", rois=ROIS, predictor_width=10)
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        PersonJepaSettings(**{**SIZES, "depth": 1, "directions": 1})
