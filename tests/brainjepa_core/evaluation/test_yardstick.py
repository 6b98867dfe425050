"""The yardstick's parts: components, scores, embeddings of people, what is left within sites."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brainjepa_core.evaluation import yardstick
from brainjepa_core.evaluation.yardstick import (
    connectivity_components,
    connectivity_scores,
    embed_people,
    within_groups,
)
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.tokens import token_validity


def connectivity(rois: int = 7, seed: int = 0):
    return np.corrcoef(np.random.default_rng(seed).standard_normal((rois, 20)))


@given(rois=st.integers(2, 12), seed=st.integers(0, 99))
def test_components_are_the_leading_eigenvectors(rois, seed):
    fc = connectivity(rois, seed)
    components = connectivity_components(fc, rois - 1)
    assert components.shape == (rois, rois - 1)
    assert_allclose(components.T @ components, np.eye(rois - 1), atol=1e-12)
    values = np.linalg.eigvalsh(fc)[::-1]
    assert_allclose(connectivity_scores(fc, components), values[:-1], atol=1e-12)
    few = connectivity_components(fc, 1)
    assert few.shape == (rois, 1) and np.array_equal(few, components[:, :1])


def test_components_are_twenty_unless_said_otherwise():
    assert connectivity_components(connectivity(25)).shape == (25, 20)


def naive_scores(fc, components):
    rois, count = components.shape
    scores = [0.0] * count
    for c in range(count):
        for r in range(rois):
            for s in range(rois):
                if not np.isnan(fc[r, s]):
                    scores[c] += components[r, c] * fc[r, s] * components[s, c]
    return scores


@pytest.mark.parametrize("missing", [[], [2], [0, 5]])
def test_scores_by_loops(missing):
    person, components = connectivity(seed=1), connectivity_components(connectivity(), 4)
    person[missing] = person[:, missing] = np.nan
    before = person.copy()
    found = connectivity_scores(person, components)
    assert_allclose(found, naive_scores(person, components), rtol=1e-12)
    assert np.array_equal(person, before, equal_nan=True)
    # The sign of an eigenvector is the solver's whim.
    assert_allclose(connectivity_scores(person, components * [1, -1, -1, 1]), found, rtol=1e-12)


class People:
    """People with windows of their own number; the second lacks an ROI and frames."""

    atlas_rois, frames, subjects = 4, 6, 3

    def full_windows(self, subject: int):
        rng = np.random.default_rng(subject)
        n = subject + 1
        x = rng.standard_normal((n, self.atlas_rois, self.frames)).astype(np.float32)
        frame_valid = np.ones((n, self.frames), bool)
        roi_valid = np.ones((n, self.atlas_rois), bool)
        if subject == 1:
            frame_valid[1, 3:], roi_valid[:, 2] = False, False
            x[1, :, 3:], x[:, 2] = 0, 0
        return x, frame_valid, roi_valid


@pytest.fixture(scope="module")
def model() -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=16, depth=1, heads=2, predictor_width=12, predictor_heads=3)
    s = BrainJepaSettings.preset("tiny", rois=4, frames=6, patch=3, components=2, **sizes)
    made = BrainJEPA(s, torch.randn(4, 2))
    for parameter in made.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return made


def test_embeddings_by_a_loop_over_windows(model):
    networks = np.array([0, 1, 1, 0])
    pools = ["mean", "std", "time_std", "network_covariance"]
    found = embed_people(model, People(), [2, 1], pools, networks)
    assert list(found) == pools
    for pool in pools:
        for row, person in enumerate([2, 1]):
            x, frame_valid, roi_valid = People().full_windows(person)
            each = []
            for i in range(len(x)):
                valid = token_validity(frame_valid[i : i + 1], roi_valid[i : i + 1], 3)
                each.append(
                    model.embed(
                        torch.from_numpy(x[i : i + 1]),
                        pool,
                        None if valid is None else torch.from_numpy(valid),
                        torch.from_numpy(networks),
                    )[0].double()
                )
            expected = torch.stack(each).mean(0).numpy()
            assert_allclose(found[pool][row], expected, rtol=1e-4, atol=1e-6)
    assert found["mean"].dtype == np.float64 and found["mean"].shape == (2, 16)
    assert found["network_covariance"].shape == (2, 3)


def test_people_alone_and_together_have_the_same_embedding(model):
    together = embed_people(model, People(), range(3))["mean"]
    for person in range(3):
        alone = embed_people(model, People(), [person])["mean"]
        assert np.array_equal(alone[0], together[person])
    assert not np.allclose(together[0], together[1])
    assert all(p.grad is None for p in model.parameters())


def test_the_network_covariance_needs_networks(model):
    with pytest.raises(ValueError, match="expected the network of each ROI for the pool 'network"):
        embed_people(model, People(), [0], ["network_covariance"])
    with pytest.raises(ValueError, match=r"expected pools among mean, std.*found 'median'"):
        embed_people(model, People(), [0], ["median"])


@given(groups=st.lists(st.integers(0, 3), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_what_is_left_within_groups(groups, seed):
    values = np.random.default_rng(seed).uniform(20, 80, (len(groups), 2))
    before = values.copy()
    found = within_groups(values, groups)
    for i, group in enumerate(groups):
        mates = [values[j] for j, other in enumerate(groups) if other == group]
        assert_allclose(found[i], values[i] - sum(mates) / len(mates), atol=1e-10)
    assert np.array_equal(values, before)


def test_groups_may_have_names_and_values_be_integers():
    assert within_groups([[1], [4], [6]], ["b", "a", "a"]).tolist() == [[0], [-1], [1]]


class ManyPeople:
    """Fourteen people of one to three windows; some lack an ROI, some are cut short."""

    subjects = 14

    def full_windows(self, person: int):
        rng = np.random.default_rng(person)
        count = 1 + person % 3
        x = rng.standard_normal((count, 4, 6)).astype(np.float32)
        frame_valid, roi_valid = np.ones((count, 6), bool), np.ones((count, 4), bool)
        if person % 4 == 1:
            roi_valid[:, 2] = False
        if person % 4 == 2:
            frame_valid[-1, 3:] = False
        return x * roi_valid[:, :, None] * frame_valid[:, None], frame_valid, roi_valid


@pytest.mark.parametrize("windows", [1, 4, 100])
def test_batches_of_people_are_the_people_one_by_one(model, monkeypatch, windows):
    passes = []
    encode = model.encode
    monkeypatch.setattr(
        model, "encode", lambda x, *valid: passes.append(len(x)) or encode(x, *valid)
    )
    monkeypatch.setattr(yardstick, "BATCH_TOKENS", windows * model.settings.tokens)
    pools, networks = ("mean", "std", "time_std", "network_covariance"), np.array([0, 1, 1, 0])
    told: list[int] = []
    people = ManyPeople()
    together = embed_people(model, people, range(14), pools, networks, progress=told.append)
    assert sum(passes) == 27 and max(passes) <= max(windows, 3) and len(told) == len(passes)
    assert told[0] == 0 and told == sorted(set(told))
    for person in range(14):
        alone = embed_people(model, people, [person], pools, networks)
        for pool in pools:
            assert_allclose(together[pool][person], alone[pool][0], rtol=1e-6, atol=1e-6)


def test_what_progress_raises_ends_the_reading(model):
    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        embed_people(model, ManyPeople(), range(14), progress=stop)


def test_connectivity_scores_are_the_quadratic_form():
    rng = np.random.default_rng(0)
    fc, components = rng.standard_normal((30, 30)), rng.standard_normal((30, 7))
    fc[3, 4] = np.nan
    expected = np.einsum("rc,rs,sc->c", components, np.nan_to_num(fc), components)
    assert_allclose(connectivity_scores(fc, components), expected, rtol=1e-12, atol=1e-12)
