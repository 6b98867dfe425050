"""Who is in a private step: chance of the site's own, and no function of anything public."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_runs import FRAMES, PATCH, People, make_model, make_recipe

from brainjepa_core.models.registry import family_named
from brainjepa_core.privacy import secret as secret_module
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step, sampling_rate
from brainjepa_core.privacy.secret import RequestSecret, Stream

SECRET = RequestSecret(bytes(range(32)), "request")
PEOPLE, STEPS = 60, 2000


def joined(sampling: PoissonSampling, steps: range, people: int = PEOPLE) -> np.ndarray:
    """Who is in each step, bool [steps, people]."""
    table = np.zeros((len(steps), people), bool)
    for row, step in enumerate(steps):
        table[row, [draw.subject for draw in sampling.draws(step, people)]] = True
    return table


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return joined(PoissonSampling(SECRET, 8, 50), range(STEPS))


def test_everybody_is_drawn_at_the_told_rate(table):
    rate = 8 / 50  # of the number that is told, not of the 60 there are
    counts = table.sum(0)
    assert stats.binomtest(int(table.sum()), table.size, rate).pvalue > 1e-3
    assert stats.chisquare(counts, np.full(PEOPLE, counts.mean())).pvalue > 1e-3
    assert min(stats.binomtest(int(n), STEPS, rate).pvalue for n in counts) > 1e-3 / PEOPLE


def test_batches_are_as_large_as_independent_coins_make_them(table):
    sizes = np.bincount(table.sum(1), minlength=PEOPLE + 1)
    expected = STEPS * stats.binom.pmf(np.arange(PEOPLE + 1), PEOPLE, 8 / 50)
    often = expected > 5
    found = np.append(sizes[often], sizes[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    assert stats.chisquare(found, wanted).pvalue > 1e-3
    assert table.sum(1).std() > 1  # a fixed batch size would be no Poisson sampling


def test_people_and_steps_are_independent(table):
    together = np.corrcoef(table.T)[np.triu_indices(PEOPLE, 1)] * math.sqrt(STEPS)
    assert stats.kstest(together, "norm").pvalue > 1e-3
    after = [np.corrcoef(person[1:], person[:-1])[0, 1] * math.sqrt(STEPS) for person in table.T]
    assert stats.kstest(after, "norm").pvalue > 1e-3


def test_a_repetition_draws_the_same_and_another_request_or_secret_nobody_knows_who(table):
    again = joined(PoissonSampling(RequestSecret(bytes(range(32)), "request"), 8, 50), range(40))
    assert np.array_equal(again, table[:40])
    for other in (RequestSecret(bytes(range(32)), "another"), RequestSecret(bytes(32), "request")):
        drawn = joined(PoissonSampling(other, 8, 50), range(STEPS))
        r = np.corrcoef(drawn.ravel(), table.ravel())[0, 1]
        assert abs(r) < 4 / math.sqrt(table.size)


def test_no_public_setting_moves_a_draw():
    """Seed, epoch and everybody's number are the coordinator's; a draw is a function of none."""
    model, sampling = make_model(), PoissonSampling(SECRET, 3, 5)
    for step in range(4):
        one, other = (
            private_batches_of_step(People(), model, make_recipe(seed=seed), step, sampling)
            for seed in (0, 9)
        )
        assert [b.x.tolist() for b in one] == [b.x.tolist() for b in other]


def test_one_person_more_leaves_everybody_elses_window_and_mask_in_distribution_alone():
    """Masks by the place in the batch would all move; here each comes of the person's own word."""
    sampling = PoissonSampling(SECRET, 50, 50)
    draws = sampling.draws(0, 50)
    assert [draw.subject for draw in draws] == list(range(50))
    assert len({draw.mask for draw in draws}) == 50 and len({draw.window for draw in draws}) == 50
    model, recipe = make_model(), make_recipe(batch_size=5)
    (batch,) = private_batches_of_step(People(), model, recipe, 0, PoissonSampling(SECRET, 5, 5))
    for place, draw in enumerate(PoissonSampling(SECRET, 5, 5).draws(0, 5)):
        alone = model.draw(recipe.masks, seed=0, step=0, samples=[draw.mask], token_valid=None)
        width = alone["context_index"].shape[-1]
        mine = batch.draws["context_index"][place, ..., :width]
        assert torch.equal(mine, alone["context_index"][0])
        x, _, _ = People().batch([draw.subject], [(draw.window,)])
        assert np.array_equal(batch.x[place].numpy(), x[0])


def test_sites_smaller_than_a_batch_take_everybody():
    assert sampling_rate(16, 10) == 1.0 and sampling_rate(8, 50) == 0.16
    assert len(PoissonSampling(SECRET, 16, 10).draws(0, 13)) == 13


def test_micro_batches_hold_what_a_step_may_and_nobody_twice():
    recipe = make_recipe(batch_size=4, accumulation=2)
    batches = private_batches_of_step(
        People(), make_model(), recipe, 0, PoissonSampling(SECRET, 9, 5)
    )
    assert [len(batch.x) for batch in batches] == [2, 2, 1]
    windows = torch.cat([batch.x for batch in batches]).flatten(1)
    assert len(torch.unique(windows, dim=0)) == 5


def test_steps_without_anybody_are_empty():
    sampling = PoissonSampling(SECRET, 1, 10_000)
    model, recipe = make_model(), make_recipe()
    sizes = [
        len(private_batches_of_step(People(), model, recipe, step, sampling)) for step in range(50)
    ]
    assert sizes.count(0) > 40


class Short(People):
    """Person 2 has a single valid token, of which no mask can be made."""

    def batch(self, subjects, seeds):
        signal, frames, rois = super().batch(subjects, seeds)
        for place, person in enumerate(subjects):
            if person == 2:
                frames[place, PATCH:] = False
                rois[place, 1:] = False
        assert frames.shape[1] == FRAMES
        return signal, frames, rois


@pytest.mark.parametrize("family", ["brain_jepa", "masked_autoencoder"])
def test_a_person_without_a_mask_counts_nothing_and_nobody_hears_of_it(family):
    jepa = make_model()
    if family == "brain_jepa":
        model = jepa
    else:
        known = family_named(family).settings.model_fields
        fields = {k: v for k, v in jepa.settings.model_dump().items() if k in known}
        model = family_named(family).new(family_named(family).settings(**fields), jepa.basis)
    recipe = make_recipe(batch_size=8)
    everybody = PoissonSampling(SECRET, 8, 5)
    (batch,) = private_batches_of_step(Short(), model, recipe, 0, everybody)
    (others,) = private_batches_of_step(People(), model, recipe, 0, everybody)
    assert torch.equal(batch.x, others.x[[0, 1, 3, 4]])
    alone = private_batches_of_step(
        Short(), model, make_recipe(batch_size=1), 0, PoissonSampling(SECRET, 5, 5)
    )
    assert [len(batch.x) for batch in alone] == [1, 1, 0, 1, 1]


def test_a_site_that_tells_of_nobody_is_refused():
    with pytest.raises(ValueError, match="tells of at least one person, found 0 after rounding"):
        PoissonSampling(SECRET, 8, 0)


def test_short_secrets_are_refused_and_none_is_shown():
    with pytest.raises(ValueError, match="secret of at least 32 bytes, found 5; draw one"):
        RequestSecret(b"short", "request")
    assert "secret" not in repr(RequestSecret(b"secret" * 6, "request"))


def test_normals_are_normal_and_whole_in_the_tails():
    z = Stream(bytes(32)).normals(400_001)
    assert len(z) == 400_001 and z.dtype == torch.float64 and torch.isfinite(z).all()
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    beyond = int((z.abs() > 4).sum())
    assert stats.binomtest(beyond, len(z), 2 * stats.norm.sf(4)).pvalue > 1e-3
    pairs = z[:400_000].view(2, -1)
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / math.sqrt(200_000)
    squares = float(torch.corrcoef(pairs.square())[0, 1])
    assert abs(squares) < 4 / math.sqrt(200_000)


@pytest.mark.parametrize("number", [1, 2, 15, 40_001])
def test_normals_are_those_of_all_words_at_once_whatever_is_drawn_at_a_time(number, monkeypatch):
    z = Stream(bytes(32)).normals(number)
    pairs = (number + 1) // 2
    words = Stream(bytes(32)).words(2 * pairs) >> np.uint64(11)
    u, v = ((words + 0.5) / 2**53).reshape(2, pairs)
    radius = np.sqrt(-2 * np.log(u))
    known = np.concatenate([radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)])
    np.testing.assert_allclose(z.numpy(), known[:number], rtol=0, atol=1e-13)
    monkeypatch.setattr(secret_module, "AT_ONCE", 7)
    assert torch.equal(Stream(bytes(32)).normals(number), z)


def test_a_stream_goes_on_where_it_was():
    whole, parts = Stream(bytes(32)), Stream(bytes(32))
    assert np.array_equal(whole.words(30), np.concatenate([parts.words(11), parts.words(19)]))
