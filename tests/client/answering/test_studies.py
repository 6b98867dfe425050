"""A study is answered by one choice of people: differences of sums single nobody out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_sites import STUDY, ask, ask_round, first_arrays, make_site, make_study

from brainjepa_client.answering.studies import STUDY as FILE
from brainjepa_core.evaluation.splits import fold_of, folds_of
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN

FIRST = r"expected {} = {} as when this site first answered the study, found {}; go on with the"


def seeded(seed: int):
    training = STUDY.training.model_copy(update={"seed": seed})
    return STUDY.model_copy(update={"training": training})


OTHERS = {
    "seed": ({"study": seeded(1)}, ("pretraining.training.seed", 0, 1)),
    "folds": ({"folds": 20}, ("folds", 5, 20)),
    "held-out fold": ({"held_out_fold": 1}, ("held_out_fold", 0, 1)),
    # A scan that fills no window leaves its person out of the sums.
    "windows": (
        {"study": STUDY.model_copy(update={"windows": STUDY.windows.model_copy(
            update={"short": "refuse"})})},
        ("pretraining.windows.short", "pad", "refuse"),
    ),
    "patch": (
        {"study": STUDY.model_copy(update={"model": {**STUDY.model, "patch": 8}})},
        ("pretraining.model.patch", 4, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("kind", [GRADIENTS, TRAIN, EVALUATE])
def test_another_choice_of_people_is_refused(stores, start, tmp_path, change, kind):
    site = make_site(stores[0], tmp_path)
    assert site.answer(ask(GRADIENTS)).refusal == ""
    arguments, told = OTHERS[change]
    reply = site.answer(ask(kind, start, steps=1, **arguments))
    assert reply.refusal.startswith(FIRST.format(*told)) and reply.arrays == {}


def test_twenty_folds_and_other_seeds_tell_of_nobody_alone(stores, tmp_path):
    """People alone in a fold are the difference of two sums; no second sum is to be had."""
    site = make_site(stores[0], tmp_path, min_people_in_sum=3)
    told = []
    for seed in range(8):
        for fold in range(20):
            reply = site.answer(ask(GRADIENTS, study=seeded(seed), folds=20, held_out_fold=fold))
            if not reply.refusal:
                told.append(reply.arrays["z_sum"])
    assert len(told) == 1


def test_the_same_question_has_the_same_answer(stores, tmp_path):
    site = make_site(stores[0], tmp_path)
    one, other = site.answer(ask(GRADIENTS)), site.answer(ask(GRADIENTS))
    assert np.array_equal(one.arrays["z_sum"], other.arrays["z_sum"])


def test_what_is_free_may_change_and_other_studies_are_others(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    assert site.answer(ask(GRADIENTS)).refusal == ""
    assert site.answer(ask_round(0, start, wire="bf16", proximal=0.1)).refusal == ""
    assert site.answer(ask_round(1, start, share="equal", target="local")).refusal == ""
    request = ask(GRADIENTS, study=make_study(schedule={"lr": 0.1}))
    other = request.assignment.model_copy(update={"study_id": "another"})
    assert site.answer(type(request)(GRADIENTS, other)).refusal == ""


def test_the_consensus_is_answered_by_one_store(stores, tmp_path):
    """The difference of the sums before and after somebody joined is that person."""
    shutil.copytree(stores[0], tmp_path / "store")
    store, site = tmp_path / "store", make_site(tmp_path / "store", tmp_path / "state")
    start = first_arrays([store])
    assert site.answer(ask(GRADIENTS)).refusal == ""
    opened = ScanStore.open(store)
    record = opened.records[0]
    opened.append(opened.series(record), subject="new", tr=record.tr)
    reply = site.answer(ask(GRADIENTS))
    text = "expected the scans that this site gave to the study's consensus, found that they have"
    assert reply.refusal.startswith(text)
    assert site.answer(ask_round(0, start)).refusal == ""  # training goes on with who is there


def test_a_study_that_was_first_trained_is_asked_for_its_consensus_once(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    assert site.answer(ask_round(0, start)).refusal == ""
    assert site.answer(ask(GRADIENTS)).refusal == ""


def test_what_is_told_first_is_on_the_disk_before_it_leaves(stores, tmp_path, monkeypatch):
    site = make_site(stores[0], tmp_path)

    def dying(*_, **__):
        assert json.loads((tmp_path / "small" / FILE).read_text())["folds"] == 5
        raise KeyboardInterrupt

    monkeypatch.setattr("brainjepa_client.answering.site.gradients", dying)
    with pytest.raises(KeyboardInterrupt):
        site.answer(ask(GRADIENTS))
    assert site.answer(ask(GRADIENTS, folds=4)).refusal.startswith("expected folds = 5")


@pytest.mark.parametrize("damage", ["", "[1, 2]", "{"])
def test_a_damaged_memory_answers_nothing(stores, tmp_path, damage):
    site = make_site(stores[0], tmp_path)
    site.answer(ask(GRADIENTS))
    (tmp_path / "small" / FILE).write_text(damage)
    text = "expected a readable study.json of this study at this site, found"
    assert site.answer(ask(GRADIENTS)).refusal.startswith(text)


def test_a_held_out_fold_of_few_people_gives_no_consensus(stores, tmp_path):
    """The sum of everybody, of another study, would leave theirs as the difference."""
    subjects = {record.subject for record in ScanStore.open(stores[0]).records}
    sizes = np.bincount(folds_of(subjects, 0, 5), minlength=5)
    fold = int(np.flatnonzero(sizes)[sizes[sizes > 0].argmin()])
    assert sizes[fold] == sum(fold_of(name, 0, 5) == fold for name in subjects)
    for fewest, answered in ((sizes[fold], True), (sizes[fold] + 1, False)):
        site = make_site(stores[0], tmp_path / str(fewest), min_people_in_sum=int(fewest))
        reply = site.answer(ask(GRADIENTS, held_out_fold=fold))
        assert (reply.refusal == "") == answered
    assert reply.refusal == (
        f"this site's policy asks for at least {fewest} people in a sum (policy.min_people_in_sum)"
        ", and its held-out fold has fewer; hold out another fold, or go on without this site"
    )
