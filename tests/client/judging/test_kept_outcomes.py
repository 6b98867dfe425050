"""What an evaluation keeps: made once, made anew when anything differs, and gone with a person."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from small_sites import STUDY, ask, make_site, same

from brainjepa_client.computing.stopping import going_on_while
from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.judging import kept_outcomes as kept
from brainjepa_client.judging.kept_outcomes import KEPT, OUTCOMES, Measured, forget_outcomes
from brainjepa_core.evaluation.site_people import SitePeople
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import EVALUATE

SHORTER = STUDY.model_copy(update={"windows": STUDY.windows.model_copy(update={"tr": 1.5})})


@pytest.fixture
def store(stores, tmp_path):
    path = tmp_path / "store"
    shutil.copytree(stores[0], path)
    return path


@pytest.fixture
def computed(monkeypatch):
    """How often outcomes and gradients are computed from scans."""
    counts = {"outcomes": 0, "drift": 0}
    outcomes, summed = kept.outcome_groups, kept.connectivity_sum

    def count(name, function):
        def counted(*given):
            counts[name] += 1
            return function(*given)

        return counted

    monkeypatch.setattr(kept, "outcome_groups", count("outcomes", outcomes))
    monkeypatch.setattr(kept, "connectivity_sum", count("drift", summed))
    return counts


def equal(a, b) -> bool:
    return a.metrics == b.metrics and same(a.arrays, b.arrays) and a.refusal == b.refusal == ""


def test_a_second_evaluation_computes_nothing_that_no_weight_changes(
    store, start, tmp_path, computed
):
    site = make_site(store, tmp_path / "state")
    first = site.answer(ask(EVALUATE, start))
    assert computed == {"outcomes": 1, "drift": 1}
    assert equal(site.answer(ask(EVALUATE, start)), first)
    other = {k: v * 1.01 if k.startswith("target_encoder") else v for k, v in start.items()}
    later = site.answer(ask(EVALUATE, other))
    assert computed == {"outcomes": 1, "drift": 1}
    assert later.metrics["drift"] == first.metrics["drift"] and not equal(later, first)


def make_older(records):
    return [
        dataclasses.replace(r, phenotypes={**r.phenotypes, "age": r.phenotypes["age"] + n})
        for n, r in enumerate(records)
    ]


def other_scan(store: ScanStore) -> None:
    record = store.records[3]
    series = np.array(store.series(record))[:, ::-1].copy()
    store.append(series, subject=record.subject, session=record.session, run=record.run,
                 tr=record.tr, phenotypes=record.phenotypes, replace=True)  # fmt: skip


CHANGES = {
    "phenotypes": lambda store: store.amend(make_older(store.records)),
    "a scan": other_scan,
    "a person less": lambda store: store.remove([store.records[0].key]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_store_is_answered_as_by_a_site_that_keeps_nothing(
    change, store, start, tmp_path, computed
):
    site = make_site(store, tmp_path / "state")
    before = site.answer(ask(EVALUATE, start))
    CHANGES[change](ScanStore.open(store))
    after = site.answer(ask(EVALUATE, start))
    assert computed["outcomes"] == 2 and not equal(after, before)
    assert equal(after, make_site(store, tmp_path / "cold").answer(ask(EVALUATE, start)))


@pytest.mark.parametrize("array", ["basis", "components"])
def test_other_arrays_are_measured_anew(array, store, start, tmp_path, computed):
    site = make_site(store, tmp_path / "state")
    site.answer(ask(EVALUATE, start))
    turned = {**start, array: np.ascontiguousarray(start[array][::-1])}
    found = site.answer(ask(EVALUATE, turned))
    assert computed["outcomes"] == 2
    assert equal(found, make_site(store, tmp_path / "cold").answer(ask(EVALUATE, turned)))


@pytest.mark.parametrize(
    "change",
    [
        {
            "study": STUDY.model_copy(
                update={"windows": STUDY.windows.model_copy(update={"tr": 1.5})}
            )
        },
        {"held_out_fold": 1},
        {"evaluate_people": 9},
    ],
    ids=["windows", "fold", "sample"],
)
def test_other_settings_are_measured_anew(change, store, start, tmp_path, computed):
    make_site(store, tmp_path / "state").answer(ask(EVALUATE, start))
    (tmp_path / "state" / "small" / "study.json").unlink()  # as of another study
    found = make_site(store, tmp_path / "state").answer(ask(EVALUATE, start, **change))
    assert computed["outcomes"] == 2
    assert equal(found, make_site(store, tmp_path / "cold").answer(ask(EVALUATE, start, **change)))


def test_damage_is_made_anew_and_the_last_few_stay(store, start, tmp_path, computed):
    site, folder = make_site(store, tmp_path), tmp_path / OUTCOMES
    first = site.answer(ask(EVALUATE, start))
    (file,) = folder.glob("*.npz")
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"nonsense"):
        file.write_bytes(damaged)
        assert equal(site.answer(ask(EVALUATE, start)), first)
    assert computed["outcomes"] == 4
    for number in range(KEPT + 2):
        other = {**start, "components": start["components"] * (number + 2)}
        assert site.answer(ask(EVALUATE, other)).refusal == ""
        site.answer(ask(EVALUATE, start))  # used, and so never the oldest
    assert computed["outcomes"] == 4 + KEPT + 2
    assert file in (files := list(folder.glob("*.npz"))) and len(files) == KEPT
    assert all("site" not in path.name and "sub" not in path.name for path in files)


def no_room(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("what", ["save_arrays", "clear_leftovers"])
def test_a_full_disk_changes_no_answer(what, store, start, tmp_path, monkeypatch):
    expected = make_site(store, tmp_path / "roomy").answer(ask(EVALUATE, start))
    monkeypatch.setattr(kept, what, no_room)
    assert equal(make_site(store, tmp_path / "full").answer(ask(EVALUATE, start)), expected)


def test_what_is_kept_is_read_where_it_cannot_be_written(store, start, tmp_path, monkeypatch):
    site = make_site(store, tmp_path)
    expected = site.answer(ask(EVALUATE, start))
    monkeypatch.setattr(kept, "os", SimpleNamespace(utime=no_room))
    assert equal(site.answer(ask(EVALUATE, start)), expected)


def is_over_once(owner, name: str, monkeypatch, *, before: bool = False):
    """What has every answer end once a function is done, or begins."""
    over, function = [], getattr(owner, name)

    def ending(*given, **named):
        over.extend([name] * before)
        found = function(*given, **named)
        over.append(name)
        return found

    def require() -> None:
        if over:
            raise Refusal("enough")

    monkeypatch.setattr(owner, name, ending)
    return going_on_while(require)


@pytest.mark.parametrize("within", ["outcomes", "drift", "the other half"])
def test_an_evaluation_ends_between_two_scans(within, store, start, tmp_path, monkeypatch):
    over = {
        "outcomes": lambda: is_over_once(kept, "outcome_groups", monkeypatch, before=True),
        "drift": lambda: is_over_once(kept, "outcome_groups", monkeypatch),
        "the other half": lambda: is_over_once(SitePeople, "read", monkeypatch),
    }
    with over[within]():
        reply = make_site(store, tmp_path / "state").answer(ask(EVALUATE, start))
    assert reply.refusal == "enough"
    done = list((tmp_path / "state").glob(f"{OUTCOMES}/*.npz"))
    assert bool(done) == (within == "the other half")


def test_no_drift_is_computed_where_none_is_told(store, start, computed):
    windows = STUDY.windows_of([ScanStore.open(store)])
    measured = Measured(windows, (0, 1, 2, 3), start["components"], start["basis"], None)
    assert measured.compute().drift is None
    assert computed == {"outcomes": 1, "drift": 0}


def test_nothing_of_a_person_stays_who_withdraws(store, start, tmp_path):
    site = make_site(store, tmp_path / "state")
    site.answer(ask(EVALUATE, start))
    assert list((tmp_path / "state" / OUTCOMES).glob("*.npz"))
    remove_person(site.settings, ScanStore.open(store).records[0].subject)
    assert not list((tmp_path / "state" / OUTCOMES).glob("*.npz"))
    forget_outcomes(tmp_path / "nowhere")


def test_nothing_is_kept_of_scans_that_left_while_they_were_read(
    store, start, tmp_path, monkeypatch
):
    """A withdrawal that comes between reading and keeping."""
    compute = Measured.compute

    def withdrawn_meanwhile(measured):
        found = compute(measured)
        current = ScanStore.open(store)
        current.remove([current.records[0].key])
        return found

    monkeypatch.setattr(Measured, "compute", withdrawn_meanwhile)
    assert make_site(store, tmp_path / "state").answer(ask(EVALUATE, start)).refusal == ""
    assert not list((tmp_path / "state" / OUTCOMES).glob("*.npz"))


def test_a_large_site_reads_its_sample_and_tells_how_many_it_did_not(
    stores, start, tmp_path, monkeypatch
):
    site = make_site(stores[0], tmp_path, round_counts_to=5)
    read = []
    monkeypatch.setattr(
        "brainjepa_client.judging.yardstick.SitePeople.read",
        lambda model, windows, *rest, progress: (
            read.append([p.records[0].subject for p in windows.people]) or _fail()
        ),
    )
    for _ in range(2):
        site.answer(ask(EVALUATE, start, evaluate_people=6))
    assert read[0] == read[1] and len(read[0]) == 6
    monkeypatch.undo()
    reply = site.answer(ask(EVALUATE, start, evaluate_people=6))
    assert reply.refusal == "" and reply.metrics["people_not_read"] == 5  # six, rounded down
    windows = STUDY.windows_of([ScanStore.open(stores[0])])
    assert len(folds_of_windows(windows, 0, 5)) == 12
    assert sum(reply.arrays[f"moments.mean.{fold}.n"] for fold in range(5)) == 6
    whole = make_site(stores[0], tmp_path / "whole").answer(ask(EVALUATE, start))
    assert whole.metrics["people_not_read"] == 0


def _fail():
    raise RuntimeError("only whose windows were asked for matters")


def test_another_sample_is_another_study(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    assert site.answer(ask(EVALUATE, start, evaluate_people=6)).refusal == ""
    assert site.answer(ask(EVALUATE, start, evaluate_people=7)).refusal == (
        "expected evaluate_people = 6 as when this site first answered the study, found 7; go on "
        "with the first settings, or give the study a new name"
    )
