"""The yardstick's sample: fixed, shared out over folds, and as large as the study's promise."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.evaluation.sample import yardstick_sample
from brainjepa_core.evaluation.splits import folds_of
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import Assignment

PEOPLE = [f"person-{number}" for number in range(200)]


def chosen(subjects: list[str], size: int, seed: int = 3, folds: int = 5) -> set[str]:
    places = yardstick_sample(subjects, folds_of(subjects, seed, folds), seed, size)
    assert places.dtype == np.int64 and (np.diff(places) > 0).all()
    return {subjects[place] for place in places}


@given(st.permutations(PEOPLE[:40]), st.integers(1, 50))
def test_the_same_people_whatever_their_order(subjects, size):
    found = chosen(list(subjects), size)
    assert found == chosen(PEOPLE[:40], size) and len(found) == min(size, 40)


def test_another_study_reads_others():
    assert chosen(PEOPLE, 50, seed=1) != chosen(PEOPLE, 50, seed=2)
    assert chosen(PEOPLE, 50) < chosen(PEOPLE, 60) < chosen(PEOPLE, 500) == set(PEOPLE)


@given(st.integers(0, 39), st.integers(1, 39))
def test_who_leaves_moves_one_other_person_at_most(place, size):
    subjects = PEOPLE[:40]
    before = chosen(subjects, size)
    after = chosen([s for s in subjects if s != subjects[place]], size)
    assert len((before ^ after) - {subjects[place]}) <= 1


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.integers(1, 90),
    st.integers(1, 100),
)
def test_folds_take_turns_and_the_promise_of_people_holds(folds, size, people):
    """A brute-force look at who is outside the held-out fold, as `Assignment` promises."""
    where = np.array(folds)
    found = yardstick_sample(PEOPLE[: len(folds)], where, 0, size)
    sizes = np.bincount(where[found], minlength=5)
    left = np.bincount(where, minlength=5) - sizes
    assert all(sizes[k] >= sizes.max() - 1 for k in range(5) if left[k])
    study = Assignment(
        study_id="small", pretraining=PretrainingSettings(), people=people, evaluate_people=size
    )
    outside = int((where != study.held_out_fold).sum())
    if outside >= people:
        assert int((where[found] != study.held_out_fold).sum()) >= study.yardstick_people


def test_features_summed_are_as_the_samples_allow():
    whole = Assignment(study_id="small", pretraining=PretrainingSettings(), people=4000)
    assert (whole.features_summed, whole.yardstick_features_summed) == (800, 80)
    small = whole.model_copy(update={"people": 200})
    assert small.features_summed == small.yardstick_features_summed == 40
