"""What leaves a site: only what was agreed, whatever fails."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sites import ROIS, ask, ask_round, first_arrays, make_site

from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.consent.audit_log import AUDIT, audit_log
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import LARGEST_LOG
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    KINDS,
    TRAIN,
    WIRE_VERSION,
)

CANARY = "canary"
SUBJECT, SESSION, RUN = "canary-subject-1999-12-31", "canary-session", "canary-run"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("canary-folder")


@pytest.fixture(scope="module")
def canary_store(place):
    names = [f"Net{i % 4}_{i}" for i in range(ROIS)]
    store = ScanStore.create(place / "canary-store", Atlas.from_names(names, "eight"))
    rng = np.random.default_rng(0)
    for person in range(12):
        mixing = rng.standard_normal((ROIS, ROIS))
        store.append(
            mixing @ rng.standard_normal((ROIS, 40)),
            subject=f"{SUBJECT}-{person}",
            session=SESSION,
            run=RUN,
            tr=2.0,
            phenotypes={"age": 20.0 + person, "sex": "canary-sex", "canary-column": "canary"},
        )
    return store.path


@pytest.fixture(scope="module")
def arrays(canary_store):
    return first_arrays([canary_store])


def requests(arrays: dict) -> dict:
    return {
        DESCRIBE: ask(DESCRIBE),
        GRADIENTS: ask(GRADIENTS),
        TRAIN: ask_round(0, arrays),
        EVALUATE: ask(EVALUATE, arrays),
    }


def assert_nothing_leaks(reply) -> None:
    texts = [reply.refusal, *reply.metrics, *map(str, reply.metrics.values()), *reply.arrays]
    told = " ".join(texts).lower()
    for word in (CANARY, "1999-", "12-31", "/", ".npy", "traceback"):
        assert word not in told.replace("+cpu", "")
    for array in reply.arrays.values():
        assert array.dtype.kind in "fiu" and CANARY.encode() not in array.tobytes()


def test_answers_name_nobody(canary_store, place, arrays):
    site = make_site(canary_store, place / "canary-state")
    for kind, request in requests(arrays).items():
        reply = site.answer(request)
        assert reply.refusal == "" and reply.metrics, kind
        assert_nothing_leaks(reply)
    log = (place / "canary-state" / LOG).read_text()
    assert "small round 1: train answered with" in log and CANARY not in log


def errors() -> list[Exception]:
    """What Python, numpy, torch and we raise, with the texts they are known for."""
    return [
        ValueError(f"{SUBJECT}: expected frames"),
        KeyError(SUBJECT),
        FileNotFoundError(2, "No such file", f"/data/{SUBJECT}.npy"),
        PermissionError(13, "Permission denied", "/canary-state/x"),
        RuntimeError(f"CUDA out of memory in {SESSION}"),
        MemoryError(f"cannot allocate {RUN}"),
        UnicodeDecodeError("utf-8", SUBJECT.encode(), 0, 1, SUBJECT),
        RecursionError(SUBJECT),
        AssertionError(SUBJECT),
        ZeroDivisionError(SUBJECT),
    ]


PLACES = {
    "brainjepa_client.answering.site.ScanStore.open": KINDS,
    "brainjepa_core.pretraining.model_windows.Windows": (GRADIENTS, TRAIN, EVALUATE),
    "brainjepa_client.computing.kinds.folds_of_windows": (GRADIENTS, TRAIN, EVALUATE),
    "brainjepa_core.signals.storing.store.ScanStore.series": (GRADIENTS, TRAIN, EVALUATE),
    "brainjepa_client.computing.describe.Reply": (DESCRIBE,),
    "brainjepa_client.computing.gradients.connectivity_sum": (GRADIENTS,),
    "brainjepa_client.computing.training.model_of": (TRAIN,),
    "brainjepa_client.computing.training.Training.advance": (TRAIN,),
    "brainjepa_client.computing.training.load_state": (TRAIN,),
    "brainjepa_client.computing.training.write_state": (TRAIN,),
    "brainjepa_client.computing.training.collapse_metrics": (TRAIN,),
    "brainjepa_client.computing.training.encode_weights": (TRAIN,),
    "brainjepa_client.judging.yardstick.SitePeople.read": (EVALUATE,),
    "brainjepa_client.judging.yardstick.collapse_metrics": (EVALUATE,),
    "brainjepa_client.judging.yardstick.moments_to_arrays": (EVALUATE,),
}


@given(st.sampled_from([(p, k) for p, kinds in PLACES.items() for k in kinds]), st.data())
@settings(max_examples=60)
def test_an_error_anywhere_leaves_as_its_kind_alone(canary_store, place, arrays, where, data):
    target, kind = where
    error = data.draw(st.sampled_from(errors()))
    state = place / "canary-state-of-errors"
    shutil.rmtree(state, ignore_errors=True)
    site = make_site(canary_store, state)

    def fail(*_: object, **__: object) -> None:
        try:
            raise OSError(f"canary-cause {SUBJECT}")
        except OSError as cause:
            raise error from cause

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, fail)
        reply = site.answer(requests(arrays)[kind])
    name = type(error).__name__
    assert reply.refusal == f"the site failed in {kind} ({name}); see its own log"
    assert reply.metrics == {} and reply.arrays == {}
    assert_nothing_leaks(reply)
    log = (state / LOG).read_text()
    assert "Traceback" in log and CANARY in log and name in log


def damage(kind: str, store, state) -> None:
    array = next((store / "scans").iterdir())
    if kind == "array gone":
        array.unlink()
    elif kind == "array damaged":
        array.write_bytes(b"\x93NUMPY canary")
    elif kind == "NaN in an array":
        values = np.load(array)
        values[0, 3] = np.nan
        np.save(array, values)
    elif kind == "constant ROI":
        values = np.load(array)
        values[0] = 1.0
        np.save(array, values)
    elif kind == "damaged table":
        with (store / TABLE).open("a") as file:
            file.write('{"subject": "canary"}\n')
    elif kind == "text for an age":
        lines = (store / TABLE).read_text().splitlines()
        facts = json.loads(lines[0])
        facts["phenotypes"]["latent_1"] = facts["phenotypes"]["age"] = "canary-age"
        (store / TABLE).write_text("\n".join([json.dumps(facts), *lines[1:]]) + "\n")
    elif kind == "empty store":
        (store / TABLE).write_text("")
    elif kind == "no header":
        (store / "store.json").unlink()
    elif kind == "state is a file":
        state.write_text("canary")
    elif kind == "damaged state":
        folder = state / "small" / "round-000001"
        folder.mkdir(parents=True)
        (folder / "round.json").write_text("canary")


DAMAGES = [
    "array gone", "array damaged", "NaN in an array", "constant ROI", "damaged table",
    "text for an age", "empty store", "no header", "state is a file", "damaged state",
]  # fmt: skip
# The scan is padded, the outcome left out, the state written anew by the first round.
MENDED = {"NaN in an array", "constant ROI", "text for an age", "damaged state"}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_disks_name_nobody(canary_store, tmp_path, arrays, kind):
    store, state = tmp_path / "canary-copy", tmp_path / "canary-state"
    shutil.copytree(canary_store, store)
    site = make_site(store, state)
    damage(kind, store, state)
    replies = [site.answer(request) for request in requests(arrays).values()]
    replies.append(site.answer(ask_round(1, arrays)))
    for reply in replies:
        assert_nothing_leaks(reply)
    assert any(reply.refusal for reply in replies) != (kind in MENDED)


def test_a_log_that_cannot_be_written_keeps_no_answer_back(canary_store, tmp_path):
    site = make_site(canary_store, tmp_path)
    (tmp_path / LOG).mkdir()
    assert site.answer(ask(DESCRIBE)).refusal == ""


def test_nothing_leaves_that_could_not_be_written_down(canary_store, tmp_path, arrays):
    site = make_site(canary_store, tmp_path / "state")
    (tmp_path / "state").write_text("a file")
    for request in (ask(DESCRIBE), ask(GRADIENTS), ask_round(0, arrays)):
        reply = site.answer(request)
        assert reply.refusal.startswith(f"the site failed in {request.kind} (")


def test_every_question_is_a_line_of_the_audit_log(canary_store, tmp_path, arrays):
    site = make_site(canary_store, tmp_path, allow=["describe", "train"])
    asked = [ask(DESCRIBE), ask(GRADIENTS), ask_round(0, arrays), ask("spell")]
    replies = [site.answer(request) for request in asked]
    lines = list(audit_log(tmp_path).lines())
    assert [line["event"] for line in lines] == ["answered", "refused", "answered", "refused"]
    assert [line["kind"] for line in lines][:3] == [DESCRIBE, GRADIENTS, TRAIN]
    assert lines[3]["kind"] == "a message of unknown kind"
    for line, reply in zip(lines, replies, strict=True):
        assert line["refusal"] == reply.refusal and line["study"] == "small"
        assert line["arrays"] == {name: array.nbytes for name, array in reply.arrays.items()}
        assert line["numbers"] == list(reply.metrics)
    assert lines[2]["round"] == 1 and lines[2]["arrays"]
    assert CANARY not in (tmp_path / AUDIT).read_text()


def test_leaving_the_program_is_no_error_of_the_site(canary_store, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            "brainjepa_client.answering.site.describe",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        make_site(canary_store, tmp_path).answer(ask(DESCRIBE))


REFUSALS = {
    "kind": (
        {}, lambda arrays: ask("steal"),
        "expected a message of kind describe, gradients, train, evaluate, found 'steal'; bring "
        "coordinator and site to one version",
    ),
    "protocol": (
        {}, lambda arrays: ask(DESCRIBE, version=99),
        f"expected messages of version {WIRE_VERSION}, found 99; bring coordinator and site to one "
        "version",
    ),
    "not allowed": (
        {"allow": ["describe", "train"]}, lambda arrays: ask(GRADIENTS),
        "this site's policy does not allow gradients (policy.allow); ask its manager",
    ),
    "fold": (
        {}, lambda arrays: ask(GRADIENTS, held_out_fold=5),
        "expected held_out_fold below folds (5), found 5; number folds from 0",
    ),
    "too many steps": (
        {"max_steps_per_round": 3}, lambda arrays: ask(TRAIN, arrays, steps=4),
        "this site's policy allows 1 to 3 steps a round (policy.max_steps_per_round), found 4; "
        "change rounds.local_steps",
    ),
    "no steps": (
        {}, lambda arrays: ask(TRAIN, arrays),
        "this site's policy allows 1 to 1000 steps a round (policy.max_steps_per_round), found 0; "
        "change rounds.local_steps",
    ),
    "after the end": (
        {}, lambda arrays: ask(TRAIN, arrays, first_step=5, steps=2),
        "expected steps within the schedule's 6, found 5 to 6; lengthen the schedule or end the "
        "study",
    ),
    "too few": (
        {"min_subjects": 12}, lambda arrays: ask(GRADIENTS),
        "this site's policy asks for at least 12 people outside the held-out fold "
        "(policy.min_subjects), and it has fewer; go on without this site",
    ),
    "components": (
        {}, lambda arrays: ask(EVALUATE, {**arrays, "components": np.zeros((3, 2))}),
        "expected components of shape [8 ROIs, any number], found shape [3, 2]; give all sites "
        "one atlas",
    ),
    "no components": (
        {}, lambda arrays: ask(EVALUATE, {k: v for k, v in arrays.items() if k != "components"}),
        "expected components of shape [8 ROIs, any number], found none; give all sites one atlas",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(canary_store, tmp_path, arrays, name):
    policy, request, text = REFUSALS[name]
    reply = make_site(canary_store, tmp_path, **policy).answer(request(arrays))
    assert reply.refusal == text and reply.metrics == {} and reply.arrays == {}
    assert f"refused: {text}" in (tmp_path / LOG).read_text()
    assert_nothing_leaks(reply)


def test_nobody_is_counted_before_the_policy_is_asked(canary_store, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainjepa_client.answering.site.ScanStore.open", None)
        reply = make_site(canary_store, tmp_path, allow=[]).answer(ask(DESCRIBE))
    assert reply.refusal.startswith("this site's policy does not allow describe")


def test_a_kind_may_hold_anything(canary_store, tmp_path):
    reply = make_site(canary_store, tmp_path).answer(ask("x" * 10_000))
    assert len(reply.refusal) < 200


def test_description(canary_store, tmp_path):
    site = make_site(canary_store, tmp_path, round_counts_to=10)
    metrics = site.answer(ask(DESCRIBE)).metrics
    store = ScanStore.open(canary_store)
    exact = {"subjects": 12, "scans": 12}
    expected = {"subjects": 10, "scans": 10}
    assert metrics.keys() == {
        "site", "wire_version", "code", "torch", "atlas", "atlas_fingerprint", "store_fingerprint",
        "rois", "networks", "subjects", "scans", "device", "threads",
    }  # fmt: skip
    assert {k: metrics[k] for k in expected} == expected and metrics["site"] == "one"
    assert metrics["rois"].split("\n") == list(store.atlas.rois)
    assert metrics["store_fingerprint"] == store.fingerprint
    assert metrics["atlas_fingerprint"] == store.atlas.fingerprint and metrics["device"] == "cpu"
    site = make_site(canary_store, tmp_path, round_counts_to=1, min_subjects=1000)
    metrics = site.answer(ask(DESCRIBE)).metrics  # needs no minimum: it holds no sums
    assert {k: metrics[k] for k in exact} == exact


def test_a_site_sets_its_threads(canary_store, tmp_path):
    before = torch.get_num_threads()
    try:
        for threads, expected in ((2, 2), (1, 1), (None, 1)):
            choices = {"name": "one", "store": canary_store, "state": tmp_path, "threads": threads}
            reply = Site(SiteSettings(**choices)).answer(ask(DESCRIBE))
            assert reply.metrics["threads"] == torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_the_log_is_begun_anew_when_it_has_grown_long(stores, tmp_path):
    site = make_site(stores[0], tmp_path)
    with (tmp_path / LOG).open("wb") as file:
        file.truncate(LARGEST_LOG)
    site.answer(ask(DESCRIBE, {}))
    assert (tmp_path / LOG).stat().st_size > LARGEST_LOG
    site.answer(ask(DESCRIBE, {}))
    assert (tmp_path / f"{LOG}.old").stat().st_size > LARGEST_LOG
    assert (tmp_path / LOG).read_text().count("describe answered") == 1
