"""Sampling: who is seen when, a pure function of the step."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_runs import FRAMES, PATCH, ROIS, People, make_model, make_recipe

from brainjepa_core.machine import processors
from brainjepa_core.pretraining import sampling
from brainjepa_core.pretraining.sampling import (
    Batch,
    batches_ahead,
    batches_of_step,
    draws_of_step,
)

MODEL = make_model()


def equal(a: list[Batch], b: list[Batch]) -> bool:
    pairs = [
        pair
        for x, y in zip(a, b, strict=True)
        for pair in [
            (x.x, y.x),
            (x.token_valid, y.token_valid),
            *((x.draws[name], y.draws[name]) for name in x.draws | y.draws),
        ]
    ]
    return all(p is q is None or (p is not None and torch.equal(p, q)) for p, q in pairs)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("batches")]


@given(st.integers(0, 9), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_nobody_is_in_a_step_or_an_epoch_twice(seed, batch_size, subjects, epochs):
    size = min(batch_size, subjects)
    of_epoch = subjects // size
    draws = [draws_of_step(seed, step, batch_size, subjects) for step in range(epochs * of_epoch)]
    assert all(len({draw.subject for draw in drawn}) == len(drawn) == size for drawn in draws)
    for epoch in range(epochs):
        together = list(chain(*draws[epoch * of_epoch : (epoch + 1) * of_epoch]))
        assert {draw.epoch for draw in together} == {epoch}
        assert len({draw.subject for draw in together}) == len(together) > subjects - size
        assert {draw.subject for draw in together} <= set(range(subjects))
    numbers = [draw.number(subjects) for drawn in draws for draw in drawn]
    assert len(set(numbers)) == len(numbers)


def test_everybody_is_seen_equally_often():
    """Seven people in steps of three: one is left over each epoch, another one each time."""
    seen = Counter(d.subject for step in range(1400) for d in draws_of_step(0, step, 3, 7))
    assert min(seen.values()) > 570  # 600 expected, SD 9.3


def test_orders_differ_between_epochs_and_seeds_and_places_are_even():
    orders = {
        (seed, epoch): tuple(d.subject for d in draws_of_step(seed, epoch, 20, 20))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    first = Counter(draws_of_step(seed, 0, 1, 4)[0].subject for seed in range(400))
    assert min(first.values()) > 70  # 100 expected, SD 8.7


@given(st.integers(0, 3), st.permutations(range(6)), st.booleans(), st.sampled_from([1, 2, 4]))
def test_batches_are_a_function_of_the_step(seed, order, ragged, accumulation):
    people, recipe = People(ragged=ragged), make_recipe(seed=seed, accumulation=accumulation)
    asked = {step: batches_of_step(people, MODEL, recipe, step) for step in order}
    ahead = list(batches_ahead(people, MODEL, recipe, range(6)))
    for step in range(6):
        assert len(asked[step]) == accumulation
        assert equal(asked[step], ahead[step])
    assert not equal(asked[0], asked[1])
    other = make_recipe(seed=seed + 1, accumulation=accumulation)
    assert not equal(asked[0], batches_of_step(people, MODEL, other, 0))


@given(st.integers(0, 20), st.booleans(), st.sampled_from([2, 4, 8]), st.integers(1, 3))
def test_the_split_into_micro_batches_changes_nobody(step, ragged, accumulation, masks):
    people = People(subjects=9, ragged=ragged)
    choices = {"batch_size": 8, "masks": {"masks_per_sample": masks}}
    (whole,) = batches_of_step(people, MODEL, make_recipe(**choices), step)
    parts = batches_of_step(people, MODEL, make_recipe(accumulation=accumulation, **choices), step)
    assert torch.equal(whole.x, torch.cat([part.x for part in parts]))
    row, size = 0, 8 // accumulation
    for part in parts:
        assert len(part.x) == size
        for i in range(size):
            for kind in ("context", "target"):
                for k in range(masks):
                    assert tokens(whole, kind, row, k) == tokens(part, kind, i, k)
            row += 1


def tokens(batch: Batch, kind: str, row: int, mask: int) -> list[int]:
    index = batch.draws[f"{kind}_index"][row, mask]
    valid = batch.draws[f"{kind}_valid"]
    return (index if valid is None else index[valid[row, mask]]).tolist()


def test_masks_and_windows_keep_to_what_was_recorded():
    # Five people in steps of five: person 1 lacks ROI 2, person 3 the last patch.
    people, recipe = People(ragged=True), make_recipe(batch_size=5)
    (batch,) = batches_of_step(people, MODEL, recipe, 0)
    drawn = [d.subject for d in draws_of_step(0, 0, 5, 5)]
    patches = FRAMES // PATCH
    for row, person in enumerate(drawn):
        lost = {1: set(range(2 * patches, 3 * patches)), 3: set(range(patches - 1, 24, patches))}
        lost = lost.get(person, set())
        assert set(torch.nonzero(~batch.token_valid[row]).flatten().tolist()) == lost
        used = set(tokens(batch, "context", row, 0)) | set(tokens(batch, "target", row, 0))
        assert used and not used & lost
    assert batch.x.shape == (5, ROIS, FRAMES) and batch.x.dtype == torch.float32
    (full,) = batches_of_step(People(), MODEL, recipe, 0)
    assert full.token_valid is full.draws["context_valid"] is full.draws["target_valid"] is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_number_of_threads_changes_no_batch_and_bounds_the_steps_ahead(monkeypatch, count):
    made = []

    class Counted(People):
        def batch(self, subjects, seeds):
            made.append(seeds[0][1])  # the step
            return super().batch(subjects, seeds)

    monkeypatch.setattr(sampling, "loaders", lambda: count)
    recipe = make_recipe(accumulation=1)
    for step, batches in enumerate(batches_ahead(Counted(ragged=True), MODEL, recipe, range(8))):
        assert equal(batches, batches_of_step(People(ragged=True), MODEL, recipe, step))
        assert max(made) <= step + count
    assert sorted(made) == list(range(8))


@pytest.mark.parametrize(("together", "count"), [(None, 4), ("1", 4), ("2", 3), ("5", 1), ("9", 1)])
def test_processes_of_one_machine_share_its_cores(monkeypatch, together, count):
    monkeypatch.setattr(processors, "usable_cores", lambda: 6)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if together is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", together)
    assert sampling.loaders() == count


def test_no_thread_is_left():
    recipe = make_recipe()
    assert list(batches_ahead(People(), MODEL, recipe, range(3, 3))) == []
    assert len(list(batches_ahead(People(), MODEL, recipe, range(3)))) == 3
    assert threads() == []
    for batches in batches_ahead(People(), MODEL, recipe, range(100)):
        assert len(batches) == 1 and 1 <= len(threads()) <= sampling.loaders()
        break
    assert threads() == []


def test_an_error_in_the_thread_is_the_caller_s():
    class Lost(People):
        def batch(self, subjects, seeds):
            raise ValueError("expected a file, found none")

    with pytest.raises(ValueError, match="expected a file, found none"):
        next(batches_ahead(Lost(), MODEL, make_recipe(), range(3)))
    assert threads() == []


def test_batches_on_their_device_are_copies_of_the_same():
    (batch,) = batches_of_step(People(ragged=True), MODEL, make_recipe(batch_size=5), 0)
    assert equal([batch], [batch.to(torch.device("cpu"))])
    assert batch.to(torch.device("meta")).draws["context_valid"].device.type == "meta"


def test_bad_recipes():
    text = "batch_size to be a multiple of accumulation, found 4 and 3; change one of the two"
    with pytest.raises(ValidationError, match=text):
        make_recipe(accumulation=3)
    official = {"ema_mode": "official", "accumulation": 8}
    with pytest.raises(
        ValidationError, match=r"to be accumulation .2., by which the official .* 8"
    ):
        make_recipe(accumulation=2, schedule=official)
    assert make_recipe(batch_size=8, accumulation=8, schedule=official).accumulation == 8
    for fields in ({"batch_size": 0}, {"clip_norm": 0.0}, {"precision": "fp16"}, {"seed": -1}):
        with pytest.raises(ValidationError, match=f"\n{next(iter(fields))}\n"):
            make_recipe(**fields)
    assert np.isclose(make_recipe().betas, (0.9, 0.999)).all()
