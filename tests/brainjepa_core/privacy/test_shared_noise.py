"""Integers that sites add noise to, each a part of it, against densities and single people."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chi2, norm
from small_runs import SIZES, People, make_recipe

from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.sampling import Batch, batches_of_step
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_core.privacy.shared_noise import FINE, GradientCode, rounded_sums
from brainjepa_core.secure_sums.encoding.fixed_point import OutOfRange

SITES, HONEST, CPU = 5, 4, torch.device("cpu")


def secret(site: int) -> RequestSecret:
    return RequestSecret(bytes([site]) * 32, "request")


def code(numbers: int = 50_000, noise: float = 1.5, clip: float = 0.5, batch: int = 4):
    protection = PrivacySettings(clip=clip, noise=noise, where="central", honest_sites=HONEST)
    return GradientCode({"weights": (numbers,)}, protection, batch, SITES)


def total_of(chosen: GradientCode, sums: np.ndarray, sites: int) -> np.ndarray:
    vectors = [chosen.noised({"weights": sums}, secret(k), 0)["weights"] for k in range(sites)]
    return np.sum(vectors, axis=0, dtype=np.uint32)


def test_what_honest_sites_add_is_the_noise_that_is_promised():
    """Of a sum: its variance in units of what a person changes, and that it is normal."""
    chosen = code()
    total = total_of(chosen, np.zeros(50_000), HONEST).view(np.int32)
    spread = chosen.protection.noise * chosen.sensitivity
    square = np.square(total / spread).sum()
    low, high = chi2.ppf([0.001, 0.999], len(total))
    assert low < square < high
    tail = np.mean(np.abs(total) > 2 * spread)
    expected = 2 * norm.sf(2)
    assert abs(tail - expected) < 4 * math.sqrt(expected / len(total))
    assert abs(total.mean()) < 4 * spread / math.sqrt(len(total))


def test_the_mean_is_over_the_expected_people_of_the_sites_in_the_sum():
    chosen = code(noise=1e-2)
    sums = np.linspace(-1, 1, 50_000) * 2 / chosen.points.step
    mean = chosen.mean({"weights": total_of(chosen, np.rint(sums), 4)}, alive=4)["weights"]
    noise = 1e-2 * 0.5 / 4 / 4 * 6
    assert_allclose(mean, np.linspace(-0.5, 0.5, 50_000), atol=noise)


def rounded_normal(s: float, k: np.ndarray) -> np.ndarray:
    return ndtr((k + 0.5) / s) - ndtr((k - 0.5) / s)


@pytest.mark.parametrize(("s", "apart"), [(0.5, 0.2), (1.0, 2e-5), (FINE, 1e-14)])
def test_a_sum_of_rounded_normals_is_a_rounded_normal_and_a_uniform(s, apart):
    """By convolution, against the density of their normal part and two uniforms at integers."""
    k = np.arange(-20 * math.ceil(s), 20 * math.ceil(s) + 1)
    found = np.convolve(rounded_normal(s, k), rounded_normal(s, k), mode="same")
    wide = math.sqrt(2) * s

    def density(at: float) -> float:
        def inner(t):
            return norm.pdf((at - t) / wide) / wide * (1 - abs(t))

        return sum(quad(inner, *ends, epsabs=0, epsrel=1e-10)[0] for ends in ((-1, 0), (0, 1)))

    near = k[np.abs(k) <= 6 * wide]
    expected = np.array([density(float(at)) for at in near])
    worst = np.abs(found[np.abs(k) <= 6 * wide] - expected).max()
    assert worst < apart
    assert apart < 0.1 or worst > 1e-4  # too coarse a grid is seen


def test_the_sum_of_rounded_shares_is_as_private_as_one_normal_number():
    """Delta at each epsilon of four rounded shares, against the Gaussian mechanism's own."""
    s, shift = FINE, 7  # steps
    k = np.arange(-400, 401)
    shares = rounded_normal(s, k)
    found = np.array([1.0])
    for _ in range(HONEST):
        found = np.convolve(found, shares)
    wide = math.sqrt(HONEST) * s
    for epsilon in (0.1, 0.5, 1.0, 2.0):
        moved = np.concatenate([np.zeros(shift), found])
        stayed = np.concatenate([found, np.zeros(shift)])
        delta = np.maximum(moved - math.exp(epsilon) * stayed, 0).sum()
        mu = shift / wide  # Balle and Wang, ICML 2018
        exact = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(
            -mu / 2 - epsilon / mu
        )
        assert 0.9 * exact < delta <= exact * (1 + 1e-9)


def people_and_model(people: int):
    torch.manual_seed(0)
    family = family_named("brain_jepa")
    settings = family.settings.preset("tiny", rois=6, **SIZES)
    model = family.new(settings, torch.randn(6, 2))
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    recipe = make_recipe(batch_size=people)
    return model, recipe, batches_of_step(People(people, False), model, recipe, step=3)


def drawn(batch: Batch, who: list[int]) -> dict[str, torch.Tensor | None]:
    return {n: None if v is None else v[who] for n, v in batch.draws.items()}


def code_of(model, clip: float) -> GradientCode:
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    protection = PrivacySettings(clip=clip, noise=1.0, where="central", honest_sites=HONEST)
    return GradientCode(shapes, protection, 4, SITES)


@pytest.mark.parametrize("clip", [1e-3, 100.0], ids=["clipped", "not clipped"])
def test_one_person_more_changes_integers_by_no_more_than_is_hidden(clip):
    model, recipe, (batch,) = people_and_model(5)
    chosen = code_of(model, clip)

    def sums(who: list[int]) -> np.ndarray:
        part = Batch(batch.x[who], None, drawn(batch, who))
        found = rounded_sums(model, recipe, chosen, [part], CPU)
        return np.concatenate([value.ravel() for value in found.values()])

    everybody, fewer, alone = sums([0, 1, 2, 3, 4]), sums([0, 1, 2, 3]), sums([4])
    assert np.array_equal(everybody, np.rint(everybody))
    # Whatever else is in the sum: to the last step, but for float32's order of additions.
    assert np.abs(everybody - fewer - alone).max() <= 1
    change = np.linalg.norm(everybody - fewer)
    assert change <= chosen.sensitivity
    if clip < 1:  # a whole share of each is there
        assert change > 0.99 * clip / chosen.points.step


def test_nobody_drawn_is_noise_alone():
    model, recipe, _ = people_and_model(2)
    chosen = code_of(model, 1.0)
    sums = rounded_sums(model, recipe, chosen, [], CPU)
    assert not any(value.any() for value in sums.values())
    vector = chosen.noised(sums, secret(0), 0)
    assert vector.keys() == chosen.layout.keys()
    assert all(v.dtype == np.uint32 and v.any() for v in vector.values())
    again, other = chosen.noised(sums, secret(0), 0), chosen.noised(sums, secret(0), 1)
    assert all(np.array_equal(vector[n], again[n]) for n in vector)
    assert not any(np.array_equal(vector[n], other[n]) for n in vector)


def test_more_than_all_expected_people_at_one_number_becomes_its_end():
    chosen = code(numbers=2, noise=1e-2)
    most = chosen.points.levels
    vector = chosen.noised({"weights": np.array([4e9, -4e9])}, secret(0), 0)["weights"]
    assert vector.view(np.int32).tolist() == [most, -most]
    spoiled = {"weights": np.array([1 << 31, 0], np.uint32)}
    with pytest.raises(OutOfRange, match="a sum that these sites can have"):
        chosen.mean(spoiled, alive=SITES)


def test_a_noise_that_rounding_would_swallow_is_refused():
    least = r"expected a noise of at least 1\.\de-0\d that 4 of 5 sites share, found 1e-09"
    with pytest.raises(ValueError, match=least):
        code(noise=1e-9)


@pytest.mark.parametrize(("sites", "honest", "batch"), [(12, 9, 8), (40, 27, 64)])
def test_rounding_22_million_numbers_costs_less_than_two_percent_of_noise(sites, honest, batch):
    protection = PrivacySettings(clip=0.3, noise=1.0, where="central", honest_sites=honest)
    chosen = GradientCode({"all": (22_000_000,)}, protection, batch, sites)
    assert chosen.sensitivity < 1.02 * 0.3 / chosen.points.step
