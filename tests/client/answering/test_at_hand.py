"""What a site keeps in memory: read once, and never longer than what it was made from."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from guarded_site import approved
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from made_contract import make_contract
from small_sites import COHORT, ask, ask_round, first_arrays, make_site, same

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.settings import SiteSettings
from brainjepa_core import yaml_file
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN, Reply, Request
from brainjepa_simulations.cohort.stores import write_cohort


@pytest.fixture
def later(monkeypatch):
    """The store was written long ago, as a site's is between two requests."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)


@pytest.fixture
def reads(monkeypatch):
    """How often a store is opened, and a scan's array is read."""
    counts = {"stores": 0, "scans": 0, "windows": 0}

    def count(name, owner, method):
        original = getattr(owner, method)

        def counted(*given, **named):
            counts[name] += 1
            return original(*given, **named)

        monkeypatch.setattr(owner, method, counted)

    count("stores", ScanStore, "_read")
    count("scans", ScanStore, "series")
    count("windows", Windows, "__init__")
    return counts


def equal(one: Reply, other: Reply) -> bool:
    numbers = [{k: v for k, v in r.metrics.items() if k != "seconds"} for r in (one, other)]
    return (
        one.refusal == other.refusal
        and numbers[0] == numbers[1]
        and same(one.arrays, other.arrays)
        and all(one.arrays[k].dtype == other.arrays[k].dtype for k in one.arrays)
    )


def test_settings_are_parsed_once_a_text(stores, tmp_path, monkeypatch):
    """Which is read for each request: no time stamp says that a file is the same."""
    parsed, original = [], yaml_file._Loader
    monkeypatch.setattr(yaml_file, "_Loader", lambda text: parsed.append(text) or original(text))
    at_hand, file = AtHand(stores=1), tmp_path / "site.yaml"
    told = f"name: one\nstore: {stores[0]}\nstate: state\nthreads: 3\n"
    file.write_text(told)
    os.utime(file, (1, 1))
    found = [at_hand.settings(file) for _ in range(3)]
    assert [one.threads for one in found] == [3, 3, 3] and len(parsed) == 1
    assert found[0] == read_settings(file, SiteSettings)
    file.write_text(told.replace("threads: 3", "threads: 4"))
    os.utime(file, (1, 1))
    assert at_hand.settings(file).threads == 4
    file.write_text(told.replace("threads: 3", "threads: 0"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"site.yaml line 4: threads: expected a number of at"):
            at_hand.settings(file)
    file.unlink()
    with pytest.raises(ValueError, match=r"site.yaml: expected a readable YAML file"):
        at_hand.settings(file)
    file.write_text(told)
    assert at_hand.settings(file).threads == 3
    other = file.with_name("two.yaml")
    other.write_text(told)
    at_hand.settings(other)
    parsed.clear()
    assert at_hand.settings(file).threads == 3 and len(parsed) == 1  # as many as stores are kept


def test_what_settings_say_about_the_disk_is_looked_at_for_each_request(stores, tmp_path):
    at_hand, file, store = AtHand(), tmp_path / "site.yaml", tmp_path / "store"
    shutil.copytree(stores[0], store)
    file.write_text("name: one\nstore: store\nstate: state\n")
    assert at_hand.settings(file).store == store
    store.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"line 2: store: expected the folder of a scan store"):
        at_hand.settings(file)


@pytest.mark.usefixtures("later")
def test_a_second_request_reads_nothing_of_the_store(stores, start, tmp_path, reads):
    at_hand = AtHand()
    settings = make_site(stores[0], tmp_path).settings
    for request in (ask(EVALUATE, start), ask_round(0, start), ask(GRADIENTS)):
        assert Site(settings, at_hand=at_hand).answer(request).refusal == ""
    assert reads["stores"] <= 2 and reads["windows"] == 1  # one of them before outcomes are kept
    before = dict(reads)
    for request in (ask_round(1, start), ask(EVALUATE, start), ask(GRADIENTS), ask(DESCRIBE)):
        assert Site(settings, at_hand=at_hand).answer(request).refusal == ""
    assert reads == before
    assert at_hand.bytes > 0


@pytest.mark.usefixtures("later")
def test_memory_is_bounded_and_the_oldest_goes(stores, start, tmp_path, reads):
    one = make_site(stores[0], tmp_path / "one").settings
    other = make_site(stores[1], tmp_path / "two").settings
    at_hand = AtHand(limit=1)
    for settings in (one, other, one, other):
        assert Site(settings, at_hand=at_hand).answer(ask(EVALUATE, start)).refusal == ""
    assert reads["windows"] == 4 and len(at_hand._people) == 1
    both = AtHand()
    for settings in (one, other, one, other):
        Site(settings, at_hand=both).answer(ask(EVALUATE, start))
    assert reads["windows"] == 6 and both.bytes > 0
    few = AtHand(stores=1)
    for settings in (one, other):
        Site(settings, at_hand=few).answer(ask(DESCRIBE))
    assert list(few._open) == [other.store]


def test_a_store_that_was_written_just_now_is_opened_again(stores, start, tmp_path, reads):
    """Its next change may have the same size and, on a coarse clock, the same time."""
    shutil.copytree(stores[0], tmp_path / "store")
    site = make_site(tmp_path / "store", tmp_path / "state")
    for count in (1, 2):
        assert site.answer(ask(DESCRIBE)).refusal == ""
        assert reads["stores"] == count


@pytest.mark.usefixtures("later")
def test_a_change_within_one_request_ends_with_it(stores, start, tmp_path):
    """Windows of a store that has been opened anew meanwhile are not put at hand."""
    shutil.copytree(stores[0], tmp_path / "store")
    settings, at_hand = make_site(tmp_path / "store", tmp_path / "state").settings, AtHand()
    study = ask(EVALUATE).assignment
    old = at_hand.store(settings.store)
    old.remove([old.records[0].key])
    new = at_hand.store(settings.store)
    assert new is not old and at_hand.store(settings.store) is new
    at_hand.people(settings, old, study)
    assert at_hand.known_people(settings, new, study) is None
    found = at_hand.people(settings, new, study)
    assert at_hand.known_people(settings, new, study) is found


@pytest.mark.usefixtures("later")
def test_windows_are_of_one_study_and_one_policy(stores, tmp_path):
    settings, at_hand = make_site(stores[0], tmp_path).settings, AtHand()
    store, study = at_hand.store(settings.store), ask(EVALUATE).assignment
    found = at_hand.people(settings, store, study)
    assert at_hand.people(settings, store, study.model_copy(update={"round": 3})) is found
    windows = study.pretraining.windows.model_copy(update={"frames": 12})
    pretraining = study.pretraining.model_copy(update={"windows": windows})
    for changes in ({"held_out_fold": 1}, {"folds": 4}, {"pretraining": pretraining}):
        other = at_hand.people(settings, store, study.model_copy(update=changes))
        assert other is not found
    strict = make_site(stores[0], tmp_path, min_subjects=5).settings
    assert at_hand.people(strict, store, study) is not found
    assert at_hand.people(settings, store, study) is found


class ChangingSite(RuleBasedStateMachine):
    """Whatever happens between two messages, a warm worker answers as one that has just started."""

    place: Path
    start: dict[str, np.ndarray]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=self.place))
        self.store = self.folder / "store"
        shutil.copytree(self.place / "cohort" / "site-01", self.store)
        self.policy: dict[str, int] = {}
        self.at_hand, self.answers, self.gone = AtHand(), 0, b""
        self.contract = make_contract(evaluations=100)
        settings = make_site(self.store, self.folder / "state").settings
        approved(settings, self.contract)

    @rule(person=st.integers(0, 11))
    def another_age(self, person: int) -> None:
        store = ScanStore.open(self.store)
        record = store.records[person % len(store.records)]
        told = {**record.phenotypes, "age": record.phenotypes["age"] + 1}
        store.amend([dataclasses.replace(record, phenotypes=told)])

    @rule(person=st.integers(0, 11))
    def another_scan(self, person: int) -> None:
        store = ScanStore.open(self.store)
        record = store.records[person % len(store.records)]
        if not self.gone:
            store.append(
                np.array(store.series(record))[:, ::-1],
                subject=record.subject, session=record.session, run=record.run, tr=record.tr,
                phenotypes=record.phenotypes, replace=True,
            )  # fmt: skip

    @rule(person=st.integers(0, 11))
    def somebody_leaves(self, person: int) -> None:
        store = ScanStore.open(self.store)
        if len(store.records) > 9 and not self.gone:
            store.remove([store.records[person % len(store.records)].key])

    @rule()
    def an_array_goes_or_comes_back(self) -> None:
        if self.gone:
            self.array.write_bytes(self.gone)
            self.gone = b""
        else:
            self.array = sorted((self.store / "scans").glob("*.npy"))[0]
            self.gone = self.array.read_bytes()
            self.array.unlink()

    @rule(fewest=st.integers(1, 3), rounding=st.sampled_from([1, 5]))
    def another_policy(self, fewest: int, rounding: int) -> None:
        self.policy = {"min_people_in_sum": fewest, "round_counts_to": rounding}

    @rule()
    def the_manager_decides_otherwise(self) -> None:
        contracts = Contracts(self.folder / "state")
        if contracts.decision(self.contract.hash) == "approved":
            contracts.reject(self.contract)
        else:
            approved(make_site(self.store, self.folder / "state").settings, self.contract)

    @rule(
        kind=st.sampled_from([EVALUATE, EVALUATE, TRAIN, GRADIENTS]),
        held_out=st.integers(0, 1),
        frames=st.sampled_from([16, 12]),
        by_contract=st.booleans(),
    )
    def another_question(self, kind: str, held_out: int, frames: int, by_contract: bool) -> None:
        self.ask(kind, held_out, frames, by_contract)

    @invariant()
    def the_same_question_as_before(self) -> None:
        self.ask(EVALUATE, 0, 16, by_contract=False)

    def ask(self, kind: str, held_out: int, frames: int, by_contract: bool) -> None:
        if by_contract:
            arrays = {} if kind == GRADIENTS else self.start
            request = Request(kind, self.contract.asked(0), arrays)
        else:
            request = self.question(kind, held_out, frames)
        self.answers += 1
        settings = make_site(self.store, self.folder / "state", **self.policy).settings
        cold = settings.model_copy(update={"state": self.folder / f"cold-{self.answers}"})
        shutil.copytree(settings.state, cold.state)
        told = {"contracts": by_contract}
        found = Site(settings, at_hand=self.at_hand, **told).answer(request)
        expected = Site(cold, **told).answer(request)
        shutil.rmtree(cold.state)
        assert equal(found, expected), (found.refusal, expected.refusal)

    def question(self, kind: str, held_out: int, frames: int) -> Request:
        """Of a study of its own, since a site answers each by one choice of people."""
        where = {"held_out_fold": held_out}
        if kind == GRADIENTS:
            found = ask(GRADIENTS, **where)
        elif kind == TRAIN:
            found = ask_round(0, self.start, **where)
        else:
            found = ask(EVALUATE, self.start, **where)
        windows = found.assignment.pretraining.windows.model_copy(update={"frames": frames})
        study = found.assignment.pretraining.model_copy(update={"windows": windows})
        named = {"study_id": f"small-{held_out}-{frames}-{self.answers}", "pretraining": study}
        return dataclasses.replace(found, assignment=found.assignment.model_copy(update=named))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("later")
def test_a_warm_worker_answers_as_a_cold_one(tmp_path):
    paths = write_cohort(COHORT, tmp_path / "cohort")
    ChangingSite.place, ChangingSite.start = tmp_path, first_arrays(paths)
    machine = ChangingSite.TestCase
    machine.settings = hypothesis_settings(max_examples=6, stateful_step_count=8, deadline=None)
    machine("runTest").runTest()
