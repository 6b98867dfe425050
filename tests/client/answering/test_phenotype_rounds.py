"""What a site's training reads of phenotypes: what its policy allows, of enough people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_sites import (
    ask_round,
    first_arrays,
    make_site,
    make_study,
    training_windows,
    write_stores,
)

from brainjepa_client.approving.task_words import phenotypes_in_words
from brainjepa_client.computing import training as training_module
from brainjepa_core.pretraining.phenotypes import learnable_columns, told_phenotypes
from brainjepa_core.signals.windows import Windows

AGE = {"column": "age", "mean": 50.0, "sd": 20.0}
SEX = {"column": "sex", "classes": [["M"], ["F"]]}
TRAIT = {"column": "latent_1", "mean": 0.0, "sd": 1.0}
ENCODER = {"width": 8, "depth": 1, "heads": 2, "patch": 4}
STUDY = make_study().model_copy(
    update={"family": "phenotype_heads", "model": {**ENCODER, "phenotypes": [AGE, TRAIT, SEX]}}
)
SHAPE = STUDY.model_settings(8)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return write_stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def windows(stores) -> Windows:
    return training_windows(stores[0], STUDY)


def changed(windows: Windows, people, **phenotypes) -> Windows:
    """Windows of whose people some have other phenotypes."""
    found = list(windows.people)
    for person in people:
        records = found[person].records
        told = {**records[0].phenotypes, **phenotypes}
        first = replace(records[0], phenotypes={k: v for k, v in told.items() if v is not None})
        found[person] = found[person]._replace(records=(first, *records[1:]))
    other = windows.only(range(windows.subjects))
    other.people = tuple(found)
    return other


def train(site, arrays, number=0):
    return site.answer(ask_round(number, arrays, STUDY, steps=3))


def test_a_person_is_told_of_as_the_contract_has_it(windows):
    some = changed(windows, [0], age="n/a", latent_1="1.5", sex="other")
    told = told_phenotypes(some, [0, 1], SHAPE)
    known = windows.people[1].records[0].phenotypes
    assert np.isnan(told[0]).tolist() == [True, False, True] and told[0, 1] == 1.5
    assert told[1, 0] == pytest.approx((known["age"] - 50) / 20, rel=1e-6)
    assert told[1, 2] == {"M": -1, "F": 1}[known["sex"]]


def test_columns_that_are_not_allowed_or_of_too_few_count_as_unknown(windows):
    everybody = range(windows.subjects)
    assert learnable_columns(windows, SHAPE, 1, None) == {"age", "latent_1", "sex"}
    assert learnable_columns(windows, SHAPE, 1, ("age", "other")) == {"age"}
    few = changed(windows, list(everybody)[2:], latent_1=None)
    assert learnable_columns(few, SHAPE, 3, None) >= {"age"}
    assert "latent_1" not in learnable_columns(few, SHAPE, 3, None)
    men = changed(windows, everybody, sex="M")
    assert "sex" not in learnable_columns(men, SHAPE, 1, None)
    told = told_phenotypes(windows.telling(frozenset({"age"})), everybody, SHAPE)
    assert np.isnan(told[:, 1:]).all() and np.isfinite(told[:, 0]).all()


def test_codes_for_missing_are_refused_without_a_number(windows):
    coded = changed(windows, [0, 1], age=-9999.0)
    with pytest.raises(ValueError, match="expected 'age' to be known or n/a, found numbers that"):
        learnable_columns(coded, SHAPE, 1, None)


def test_a_site_leaves_heads_alone_whose_phenotypes_it_does_not_tell(stores, tmp_path):
    arrays = first_arrays(stores, STUDY)
    policy = {"task_columns": ("age",), "min_people_a_class": 2}
    reply = train(make_site(stores[0], tmp_path, **policy), arrays)
    assert not reply.refusal
    heads = reply.arrays["heads.weight"].reshape(3, -1)
    assert heads[0].any() and not heads[1:].any()
    assert reply.arrays["heads.bias"].tolist()[1:] == [0, 0]


def test_a_site_that_may_tell_of_none_refuses(stores, tmp_path):
    arrays = first_arrays(stores, STUDY)
    for number, policy in enumerate(({"task_columns": ()}, {"min_people_a_class": 100})):
        reply = train(make_site(stores[0], tmp_path / str(number), **policy), arrays)
        assert reply.refusal.startswith("expected one of the study's phenotypes of enough people")
        assert not reply.arrays


def test_a_site_allows_what_it_is_not_asked_for(stores, tmp_path, monkeypatch):
    """Training of scans alone asks nobody which phenotypes may be told."""
    monkeypatch.setattr(training_module, "telling", None)
    arrays = first_arrays(stores)
    site = make_site(stores[0], tmp_path, task_columns=())
    assert not site.answer(ask_round(0, arrays, steps=3)).refusal


def test_the_manager_reads_which_phenotypes_are_learned():
    (line,) = phenotypes_in_words(STUDY)
    assert line.endswith(
        "have one: 'age' (a number about 50, by 20), 'latent_1' (a number about 0, by 1), 'sex' "
        "(M against F)"
    )
    assert "(policy.task_columns)" in line and phenotypes_in_words(make_study()) == []
