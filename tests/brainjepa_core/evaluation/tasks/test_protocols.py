"""Splits: nobody twice, nobody forgotten, classes and sites in proportion, the same every time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from brainjepa_core.evaluation.tasks.protocols import (
    ProtocolSettings,
    Split,
    splits_of,
    untested_sites,
)
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.strata import part, strata

KINDS = ("holdout", "kfold", "leave_one_site_out", "transfer", "personalised")


def people(
    sites: list[str], target: list[float], kind: str = "classification", **facts: list[Any]
) -> TaskData:
    """Rows of a task whose facts are given column by column."""
    classes = tuple(f"c{k}" for k in range(int(max(target)) + 1)) * (kind == "classification")
    stratify = ("site", *facts)
    columns = {"site": sites, **facts}
    return TaskData(
        task=TaskSettings(name="t", column="y", kind=kind, stratify=stratify),
        people=np.arange(len(sites)),
        sites=np.array(sites, np.str_),
        target=np.array(target, np.float64),
        classes=classes,
        covariates=np.empty((len(sites), 0)),
        facts=tuple(
            {name: values[row] for name, values in columns.items() if values[row] is not None}
            for row in range(len(sites))
        ),
    )


def consortium(seed: int = 0, n: int = 120, kind: str = "classification", **facts) -> TaskData:
    """Four sites of unequal size and prevalence."""
    rng = np.random.default_rng(seed)
    sites = rng.choice(["A", "B", "C", "D"], n, p=[0.4, 0.3, 0.2, 0.1]).tolist()
    target = rng.standard_normal(n) if kind == "regression" else (rng.random(n) < 0.35) * 1.0
    return people(sites, target.tolist(), kind, **facts)


def equal(a: list[Split], b: list[Split]) -> bool:
    return len(a) == len(b) and all(
        (x.name, x.repetition) == (y.name, y.repetition)
        and all(
            np.array_equal(getattr(x, p), getattr(y, p)) for p in ("train", "validation", "test")
        )
        for x, y in zip(a, b, strict=True)
    )


def settings_of(kind: str, **fields: Any) -> ProtocolSettings:
    sites = {"test_sites": ("A", "B")} if kind == "transfer" else {}
    return ProtocolSettings(kind=kind, **{"seeds": 2, "folds": 3, **sites, **fields})


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(60, 200), st.sampled_from(["classification", "regression"])
)
def test_what_holds_of_every_protocol(kind, seed, n, task):
    rng = np.random.default_rng(seed)
    sex = rng.choice(np.array(["F", "M", None]), n, p=[0.2, 0.7, 0.1]).tolist()
    data = consortium(seed, n, task, sex=sex, age=rng.uniform(5, 60, n).tolist())
    protocol = settings_of(kind)
    try:
        splits = splits_of(protocol, data)
    except ValueError as error:
        assert kind == "personalised" and "expected a site with at least 5" in str(error)
        return
    assert equal(splits, splits_of(protocol, data))
    tested: dict[int, Counter[int]] = {0: Counter(), 1: Counter()}
    assert len({(split.repetition, split.name) for split in splits}) == len(splits)
    for split in splits:
        parts = [split.train, split.validation, split.test]
        rows = np.concatenate(parts)
        assert len(set(rows)) == len(rows) and rows.min() >= 0 and rows.max() < n
        assert all(len(p) and p.dtype == np.int64 and (np.diff(p) > 0).all() for p in parts)
        assert set(data.target[split.train]) == {0.0, 1.0} or not data.classes
        tested[split.repetition].update(split.test.tolist())
        if kind != "personalised":
            assert set(rows) == set(range(n))
    assert all(set(counts.values()) == {1} for counts in tested.values())
    everybody = kind in ("kfold", "leave_one_site_out")
    assert not everybody or all(set(counts) == set(range(n)) for counts in tested.values())
    first, second = ([s for s in splits if s.repetition == r] for r in (0, 1))
    assert not equal(first, [Split(s.name, 0, s.train, s.validation, s.test) for s in second])


def test_default_holdout_has_the_published_proportions():
    data = consortium(n=500)
    splits = splits_of(ProtocolSettings(), data)
    assert [split.name for split in splits] == [f"seed {s}" for s in range(5)]
    for split in splits:
        assert [len(p) for p in (split.train, split.validation, split.test)] == [300, 100, 100]
        for rows in (split.train, split.validation, split.test):
            for site in "ABCD":
                for label in (0, 1):
                    everyone = (data.sites == site) & (data.target == label)
                    share = everyone[rows].sum() / everyone.sum()
                    assert abs(share - len(rows) / 500) * everyone.sum() <= 2
    assert len({tuple(split.test) for split in splits}) == 5


def test_targets_of_regressions_are_balanced_by_quartile():
    data = consortium(n=400, kind="regression")
    quartile = np.searchsorted(np.quantile(data.target, [0.25, 0.5, 0.75]), data.target)
    for split in splits_of(ProtocolSettings(), data):
        for rows in (split.train, split.validation, split.test):
            counts = np.bincount(quartile[rows], minlength=4)
            assert abs(counts - len(rows) / 4).max() <= 4


def test_folds_are_stratified_and_named():
    data = consortium(n=200)
    splits = splits_of(ProtocolSettings(kind="kfold", seeds=2, folds=4), data)
    names = [f"seed {s} fold {f}" for s in (0, 1) for f in (1, 2, 3, 4)]
    assert [split.name for split in splits] == names
    for split in splits:
        assert abs(data.target[split.test].mean() - data.target.mean()) < 0.03
        assert abs(len(split.validation) - 0.2 * 150) <= 1
        for site in "ABC":
            assert abs((data.sites[split.test] == site).sum() - (data.sites == site).sum() / 4) <= 2


def test_each_site_is_tested_by_the_others_whatever_its_classes():
    data = people(["A"] * 20 + ["B"] * 20 + ["C"], [0, 1] * 10 + [0, 1] * 10 + [1])
    splits = splits_of(ProtocolSettings(kind="leave_one_site_out", seeds=2), data)
    assert [s.name for s in splits] == ["without A", "without B", "without C"] * 2
    for split in splits:
        (site,) = set(data.sites[split.test])
        learned = np.concatenate([split.train, split.validation])
        assert split.name == f"without {site}" and site not in data.sites[learned]
    assert splits[2].test.tolist() == [40] == splits[5].test.tolist()
    assert splits[0].validation.tolist() != splits[3].validation.tolist()


@pytest.mark.parametrize(
    ("fields", "trained", "tested"),
    [
        ({"train_sites": ("A", "C"), "test_sites": ("B",)}, {"A", "C"}, {"B"}),
        ({"test_sites": ("B", "D")}, {"A", "C"}, {"B", "D"}),
        ({"train_sites": ("A",)}, {"A"}, {"B", "C", "D"}),
    ],
)
def test_transfer_is_from_some_sites_to_others(fields, trained, tested):
    data = consortium()
    splits = splits_of(ProtocolSettings(kind="transfer", seeds=2, **fields), data)
    assert [split.repetition for split in splits] == [0, 1]
    for split in splits:
        assert split.name == f"to {', '.join(sorted(tested))}"
        assert set(data.sites[np.concatenate([split.train, split.validation])]) == trained
        assert set(data.sites[split.test]) == tested
        assert set(split.test) == set(np.flatnonzero(np.isin(data.sites, list(tested))))


def test_personalised_learns_from_the_site_alone_where_it_can():
    sites = ["A"] * 20 + ["B"] * 12 + ["C"] * 9 + ["D"] * 20
    target = [0, 1] * 16 + [0, 1] * 4 + [0] + [0] * 20
    data = people(sites, target)
    splits = splits_of(ProtocolSettings(kind="personalised", seeds=1, folds=5), data)
    names = [f"{site} fold {fold}" for site in "AB" for fold in range(1, 6)]
    assert [split.name for split in splits] == names  # C has 4 of a class, D none
    for split in splits:
        rows = np.concatenate([split.train, split.validation, split.test])
        assert set(data.sites[rows]) == {split.name[0]}
        assert len(rows) == (data.sites == split.name[0]).sum()
    assert untested_sites(splits, data) == ("C", "D")
    assert untested_sites(splits_of(ProtocolSettings(kind="kfold"), data), data) == ()


def test_small_strata_give_way_column_by_column():
    """Eleven of a class at A and one at B; sex is known of some, age of nobody."""
    sites = ["A"] * 11 + ["B"] + ["A"] * 8
    sex = ["F"] * 5 + ["M"] * 6 + ["F"] + [None] * 8
    data = people(sites, [0] * 12 + [1] * 8, sex=sex, age=[None] * 20)
    found = strata(data, np.arange(20), 5)
    groups = [set(np.flatnonzero(found == number).tolist()) for number in range(found.max() + 1)]
    largest = {5, 6, 7, 8, 9, 10, 11}  # the men at A, whom the lonely woman at B joins
    assert sorted(map(sorted, groups)) == [list(range(5)), sorted(largest), list(range(12, 20))]
    coarse = strata(data, np.arange(20), 7)  # sex gives way: 11 at A; B's joins them
    assert len(set(coarse[:12])) == 1 and len(set(coarse)) == 2
    assert len(set(strata(data, np.arange(20), 15))) == 2  # classes never do


@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0.05, 0.9))
@settings(max_examples=100, deadline=None)
def test_a_part_can_be_taken_of_however_few(seed, n, share):
    rng = np.random.default_rng(seed)
    target = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, n)]).astype(float)
    sites = rng.choice(["A", "B", "C"], n + 4).tolist()
    for kind in ("classification", "regression"):
        data = people(sites, target.tolist(), kind, sex=rng.choice(["F", "M"], n + 4).tolist())
        rest, taken = part(data, np.arange(n + 4), share, 3)
        assert sorted([*rest, *taken]) == list(range(n + 4))
        wanted = round(share * (n + 4))
        assert len(taken) == min(max(wanted, 1 + bool(data.classes)), n + 3 - bool(data.classes))


def test_a_class_of_five_in_a_hundred_is_in_every_part():
    data = people(["A"] * 100, [1] * 5 + [0] * 95)
    for split in splits_of(ProtocolSettings(seeds=10), data):
        parts = (split.train, split.validation, split.test)
        assert [int(data.target[rows].sum()) for rows in parts] == [3, 1, 1]


@pytest.mark.parametrize(
    ("protocol", "data", "text"),
    [
        ({"kind": "kfold", "folds": 6}, people(["A"] * 25, [1] * 5 + [0] * 20),
         "as many people of each class as folds, found 5 of class 'c1' for 6 folds; use at most 5"),
        ({"kind": "kfold", "folds": 9}, people(["A"] * 8, [*range(8)], "regression"),
         "found 8 in all for 9 folds"),
        ({"kind": "leave_one_site_out"}, people(["A"] * 20, [0, 1] * 10),
         "at least 2 sites with people who take part to leave one out, found 1; add sites, or"),
        ({"kind": "leave_one_site_out"}, people(["A"] * 20 + ["B"] * 9, [0, 1] * 10 + [0] * 9),
         "at least 2 people of class 'c1' to learn from, .*, found 0 among the 9 of a training"),
        ({"kind": "transfer", "test_sites": ("KKJ",)}, people(["KKI", "NYU"] * 9, [0, 1] * 9),
         r"expected sites of KKI, NYU, found 'KKJ'; did you mean KKI\?"),
        ({"kind": "transfer", "train_sites": ("Z",)}, people(["KKI", "NYU"] * 9, [0, 1] * 9),
         "found 'Z'; nobody there takes part"),
        ({"kind": "transfer", "train_sites": ("A", "B")}, people(["A", "B"] * 9, [0, 1] * 9),
         "found all 2 on one side; name fewer, or use leave_one_site_out"),
        ({"kind": "transfer", "train_sites": ("A",)}, people(["A", "B"] * 9, [0, 1] * 9),
         "at least 2 people of class 'c1' to learn from, .*, found 0 among the 9"),
        ({"kind": "personalised", "folds": 6}, people(["A", "A", "B", "B"] * 5, [0, 1] * 10),
         "a site with at least 6 people of each class for 6 folds of its own, found at most 5 at "
         "any of 2 sites"),
        ({"kind": "holdout", "train": 0.1, "validation": 0.6},
         people(["A"] * 50, [1] * 5 + [0] * 45),
         "every class in each training part, found none of class 'c1' among the 5 people of 'seed"),
    ],
)  # fmt: skip
def test_splits_that_cannot_be_made(protocol, data, text):
    with pytest.raises(ValueError, match=text) as error:
        splits_of(ProtocolSettings(**protocol), data)
    assert str(error.value).startswith("task 't': expected ")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"train": 0.8}, r"leave some to test, found train 0\.8 \+ validation 0\.2"),
        ({"kind": "transfer"}, "found 0, 0 and 0 in both; name the sites of one"),
        (
            {"kind": "transfer", "train_sites": ["A"], "test_sites": ["A", "B"]},
            "1, 2 and 1 in both",
        ),
        ({"folds": 1}, "greater than or equal to 2"),
    ],
)
def test_protocols_that_contradict_themselves(fields, text):
    with pytest.raises(ValidationError, match=text):
        ProtocolSettings(**fields)


def test_brainmarks_splits_are_of_its_shares_and_balanced_by_class_alone():
    data = consortium(n=200)
    protocol = ProtocolSettings(kind="brainmarks")
    assert (protocol.seeds, protocol.train, protocol.validation) == (100, 0.7, 0.15)
    splits = splits_of(protocol, data)
    assert len(splits) == 100
    for split in splits[:5]:
        assert [len(split.train), len(split.validation), len(split.test)] == [140, 30, 30]
        everybody = np.sort(np.concatenate([split.train, split.validation, split.test]))
        np.testing.assert_array_equal(everybody, np.arange(200))
        assert abs(data.target[split.test].mean() - data.target.mean()) < 1 / 30
    shares = [(data.sites[split.test] == "A").mean() for split in splits]
    even = [(data.sites[s.test] == "A").mean() for s in splits_of(
        ProtocolSettings(kind="holdout", seeds=100, train=0.7, validation=0.15), data)]  # fmt: skip
    assert np.std(shares) > 2 * np.std(even)


def test_a_column_tells_the_split():
    told = ["train", "Validation", "TEST", None] * 10
    data = people(["A"] * 40, [float(i % 2) for i in range(0, 80, 2)], "regression", cut=told)
    data.target[:] = np.arange(40)
    (split,) = splits_of(ProtocolSettings(kind="column", split_column="cut"), data)
    assert (split.train % 4 == 0).all() and (split.validation % 4 == 1).all()
    assert (split.test % 4 == 2).all() and len(split.test) == 10
    with pytest.raises(ValueError, match="column 'cuts', found it of none of 40 people; did you m"):
        splits_of(ProtocolSettings(kind="column", split_column="cuts"), data)
    with pytest.raises(ValueError, match="'site', found nobody of train and validation and test"):
        splits_of(ProtocolSettings(kind="column", split_column="site"), data)
    with pytest.raises(ValidationError, match="expected split_column with kind: column"):
        ProtocolSettings(kind="column")
    with pytest.raises(ValidationError, match="and split_column 'cut'; name the phenotype"):
        ProtocolSettings(kind="kfold", split_column="cut")
    with pytest.raises(ValidationError, match=r"expected seeds: 1 with kind: column, .* found 3;"):
        ProtocolSettings(kind="column", split_column="cut", seeds=3)
