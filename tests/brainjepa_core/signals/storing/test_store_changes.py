"""A store whose scans are corrected, relabelled and taken out equals one that is made anew."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore

ATLAS = Atlas.from_names(["a", "b", "c"])
KEYS = [(f"sub-{n}", session, "") for n in range(3) for session in ("", "2")]


def series(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, 8)).astype("f4")


def content(store: ScanStore) -> dict:
    return {r.key: (store.series(r).tobytes(), r.tr, r.phenotypes, r.qc) for r in store.records}


class Changes(RuleBasedStateMachine):
    """Any changes, with the store opened anew now and then, beside a dict."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = ScanStore.create(self.folder / "store", ATLAS)
        self.told: dict = {}

    @rule(
        key=st.sampled_from(KEYS), seed=st.integers(0, 3), tr=st.sampled_from([0.8, 2.0]),
        age=st.integers(20, 22),
    )  # fmt: skip
    def put(self, key, seed, tr, age) -> None:
        facts = (series(seed).tobytes(), tr, {"age": age}, {"mean_fd": 0.1})
        changed = self.store.append(
            series(seed), subject=key[0], session=key[1], run=key[2], tr=tr,
            phenotypes={"age": age}, qc={"mean_fd": 0.1}, replace=True,
        )  # fmt: skip
        assert changed == (self.told.get(key) != facts)
        self.told[key] = facts

    @rule(age=st.integers(20, 22))
    def relabel(self, age) -> None:
        self.store.amend(replace(r, phenotypes={"age": age}) for r in self.store.records)
        self.told = {k: (a, tr, {"age": age}, qc) for k, (a, tr, _, qc) in self.told.items()}

    @rule(keys=st.sets(st.sampled_from(KEYS), max_size=3))
    def take_out(self, keys) -> None:
        assert self.store.remove(keys) == len(keys & self.told.keys())
        for key in keys:
            self.told.pop(key, None)

    @rule()
    def open_anew(self) -> None:
        self.store = ScanStore.open(self.folder / "store")

    @invariant()
    def it_is_what_was_told(self) -> None:
        if hasattr(self, "told"):
            assert content(self.store) == self.told
            assert content(ScanStore.open(self.folder / "store")) == self.told
            assert self.store.verify() == []
            assert len(list((self.folder / "store" / ARRAYS).iterdir())) == len(self.told)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_nothing_is_replaced_unasked(tmp_path):
    store = ScanStore.create(tmp_path / "store", ATLAS)
    store.append(series(0), subject="one", tr=2.0, phenotypes={"age": 20})
    assert not store.append(series(0), subject="one", tr=2.0, phenotypes={"age": 21})
    for other, tr in ((series(1), 2.0), (series(0), 0.8)):
        with pytest.raises(ValueError, match="a scan that is not in the store yet, found another"):
            store.append(other, subject="one", tr=tr)
    assert store.records[0].phenotypes == {"age": 20}


@pytest.mark.parametrize("tr", [2000.0, 0.0, -1.0, float("nan"), 21.0, 0.05])
def test_a_repetition_time_in_another_unit_is_refused(tmp_path, tr):
    store = ScanStore.create(tmp_path / "store", ATLAS)
    with pytest.raises(ValueError, match=r"a repetition time between 0.1 and 20 seconds, found"):
        store.append(series(0), subject="one", tr=tr)
