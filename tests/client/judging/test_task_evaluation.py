"""What a site tells of a task, what it refuses, and that nobody is named."""

from __future__ import annotations

import numpy as np
import pytest
from small_sites import PEOPLE, ROIS, ask, make_site

from brainjepa_client.guarding.dry_run import task_requests
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.judging.task_people import TaskPeople
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.sums.moments import moments_from_arrays
from brainjepa_core.wire.messages import EVALUATE, WANTS, ProbeRequest, Request

SEX = TaskSettings(
    name="sex", column="sex", kind="classification", classes={"female": ("F",), "male": ("M",)}
)
AGE = TaskSettings(name="age", column="age", kind="regression")
QUICK = ProtocolSettings(kind="kfold", seeds=1, folds=2)
FEATURES = 10  # of four networks' covariance


def ask_task(want: str, start: dict, task=AGE, extra=None, folds=3, **choices):
    probe = ProbeRequest(
        want=want, task=task, **{"protocol": QUICK, "pools": (HEADLINE,), **choices}
    )
    return ask(EVALUATE, {**start, **(extra or {})}, folds=folds, probe=probe)


def given(outcomes: int, probes: int = 1, folds: int = 1) -> dict:
    rng = np.random.default_rng(0)
    return {
        f"probe.{HEADLINE}.weights": rng.standard_normal((probes, folds, FEATURES, outcomes)),
        f"probe.{HEADLINE}.intercept": rng.standard_normal((probes, folds, outcomes)),
        f"probe.{HEADLINE}.range": np.ones((probes, 2)),
    }


def start_of_newton(folds: int = 3) -> dict:
    width = {"centre": FEATURES, "scale": FEATURES, "trial": FEATURES + 1}
    return {f"probe.{HEADLINE}.{k}": np.zeros((folds + 1, n)) for k, n in width.items()}


def test_scores_are_metrics_and_counts(stores, start, tmp_path):
    reply = make_site(stores[0], tmp_path).answer(ask_task("scores", start))
    assert reply.refusal == "" and reply.arrays == {} and reply.metrics["people"] == PEOPLE
    models = {name.split(".")[0] for name in reply.metrics} - {"people"}
    assert models == {"nothing", "connectivity", HEADLINE}
    assert {name.split(".")[1] for name in reply.metrics if "." in name} == {"r", "r2", "mae"}


def ask_with_directions(start: dict, directions) -> Request:
    asked = ask_task("scores", start, extra={"coskewness": directions})
    assignment = asked.assignment.model_copy(update={"coskewness": True})
    return Request(asked.kind, assignment, asked.arrays)


def test_scores_are_also_of_connectivity_where_the_study_keeps_co_skewness(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    whole = site.answer(ask_with_directions(start, np.eye(ROIS)))
    names = [name for name in whole.metrics if name.startswith("coskewness.")]
    assert {name.split(".")[1] for name in names} == {"r", "r2", "mae"}
    # In all directions it is connectivity; the site's features are without shrinkage there.
    for name in names:
        plain = whole.metrics[name.replace("coskewness", "connectivity")]
        assert whole.metrics[name] == pytest.approx(plain, rel=0.2, abs=0.2)
    few = site.answer(ask_with_directions(start, np.eye(ROIS, 3)))
    assert [few.metrics[name] for name in names] != [whole.metrics[name] for name in names]


@pytest.mark.parametrize(
    ("directions", "found"),
    [
        (np.eye(ROIS, 3, dtype=np.float32), "float32 of shape [8, 3]"),
        (np.eye(ROIS + 1, 3), "float64 of shape [9, 3]"),
        (np.ones((ROIS, 3)), "float64 of shape [8, 3]"),
        (np.full((ROIS, 3), np.nan), "float64 of shape [8, 3]"),
        (np.zeros((ROIS, 0)), "float64 of shape [8, 0]"),
        (np.zeros(3), "float64 of shape [3]"),
    ],
)
def test_directions_that_are_none_are_refused(stores, start, tmp_path, directions, found):
    refusal = make_site(stores[0], tmp_path).answer(ask_with_directions(start, directions)).refusal
    assert refusal == (
        "expected directions of co-skewness as orthonormal float64 of shape [8, at most 8], found "
        f"{found}; check study and versions"
    )


def test_sums_hold_people_of_folds_that_are_large_enough(stores, start, tmp_path):
    for fewest in (1, 3, 5):
        site = make_site(stores[0], tmp_path, min_people_in_sum=fewest)
        reply = site.answer(ask_task("sums", start, folds=3))
        found = moments_from_arrays(reply.arrays)
        sizes = [m.n for m in found.values()]
        assert all(n == 0 or n >= fewest for n in sizes) and sum(sizes) == reply.metrics["people"]


def test_nobody_is_named_in_any_reply(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path, share_probe=True)
    subjects = {record.subject for record in ScanStore.open(stores[0]).records}
    extra = {"judge": given(1), "newton": start_of_newton()}
    for want in WANTS:
        reply = site.answer(ask_task(want, start, extra=extra.get(want)))
        assert bool(reply.refusal) == (want == "newton")
        told = f"{reply.metrics} {list(reply.arrays)} {reply.refusal}"
        assert not any(name in told for name in (*subjects, str(tmp_path), str(stores[0])))
        for array in reply.arrays.values():
            assert array.dtype.kind in "fi" and PEOPLE not in array.shape


def test_embeddings_are_kept_between_requests(stores, start, tmp_path, monkeypatch):
    site = make_site(stores[0], tmp_path)
    first = site.answer(ask_task("sums", start))
    monkeypatch.setattr("brainjepa_core.evaluation.features.embeddings.embed_people", None)
    again = site.answer(ask_task("sums", start))
    assert again.refusal == "" and again.arrays.keys() == first.arrays.keys()
    for name, array in first.arrays.items():
        assert np.array_equal(again.arrays[name], array)


REFUSALS = {
    "share": ({}, lambda s: ask_task("probe", s), "this site's policy keeps the weights of its o"),
    "classes": (
        {"min_people_a_class": 13}, lambda s: ask_task("sums", s),
        "this site's policy asks for at least 13 people in each class (policy.min_people_a_class)",
    ),
    "people": (
        {"min_subjects": 10},
        lambda s: ask_task("sums", s, TaskSettings.model_validate({
            **AGE.model_dump(), "include": ({"column": "sex", "one_of": ("F",)},)
        }), folds=20),
        "asks for at least 10 people (policy.min_subjects), and the task finds fewer",
    ),
    "column": (
        {}, lambda s: ask_task("sums", s, AGE.model_copy(update={"column": "sub-01"})),
        "this site has no people for task 'age', or too few, or lacks a column; go on without it",
    ),
    "forbidden": (
        {"task_columns": ["sex", "site"]}, lambda s: ask_task("scores", s),
        "this site's policy lets tasks read sex, site (policy.task_columns), and task 'age' asks",
    ),
    "forbidden column of a rule": (
        {"task_columns": ["age"]},
        lambda s: ask_task("scores", s, TaskSettings.model_validate({
            **AGE.model_dump(), "include": ({"column": "sex", "one_of": ("F",)},)
        })),
        "this site's policy lets tasks read age (policy.task_columns), and task 'age' asks for oth",
    ),
    "covariates": (
        {}, lambda s: ask_task("sums", s, AGE.model_copy(update={"covariates": ("sex",)})),
        "expected a task without covariates for probes across sites, found 1 of task 'age'; ask",
    ),
    "newton of ages": (
        {}, lambda s: ask_task("newton", s, extra=start_of_newton()),
        "expected two classes for Newton's steps, found another task; ask for sums",
    ),
    "no probe": (
        {}, lambda s: ask_task("judge", s),
        f"expected weights of a probe of {HEADLINE} as finite float64 of shape",
    ),
    "another width": (
        {}, lambda s: ask_task("judge", s, extra=given(2)), "found float64 of shape [1, 1, 10, 2]",
    ),
    "not finite": (
        {}, lambda s: ask_task("judge", s, extra={k: v * np.nan for k, v in given(1).items()}),
        "as finite float64 of shape ['any', 'any', 10, 1]",
    ),
    "another number of folds": (
        {}, lambda s: ask_task("judge", s, extra=given(1, folds=2)),
        "expected 1 or 3 fits of a probe; check the study's folds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(stores, start, tmp_path, name):
    policy, request, text = REFUSALS[name]
    reply = make_site(stores[0], tmp_path, **policy).answer(request(start))
    assert text in reply.refusal and reply.metrics == {} and reply.arrays == {}
    assert len(reply.refusal) < 240  # longer ones are cut on their way into the record


@pytest.fixture(scope="module")
def two_classes(stores, tmp_path_factory):
    """A store of 24 people, every other one a woman."""
    store = ScanStore.create(
        tmp_path_factory.mktemp("classes") / "store", ScanStore.open(stores[0]).atlas
    )
    rng = np.random.default_rng(0)
    for number in range(24):
        facts = {"sex": "FM"[number % 2]}
        store.append(rng.normal(size=(8, 40)), subject=f"s{number}", tr=2.0, phenotypes=facts)
    return store.path


@pytest.mark.parametrize("fewest", [1, 4])
def test_judged_classes_are_counts_of_enough_people(two_classes, start, tmp_path, fewest):
    site = make_site(two_classes, tmp_path, min_people_in_sum=fewest)
    reply = site.answer(ask_task("judge", start, SEX, given(2, probes=3)))
    counts = reply.arrays[f"probe.{HEADLINE}.histogram"]
    assert counts.shape[:2] == (3, 2) and (counts.sum(2) == 12).all()
    assert not ((counts > 0) & (counts < fewest)).any()
    assert {f"{HEADLINE}.{j}.auc" for j in range(3)} <= reply.metrics.keys()
    assert (reply.metrics["class.0"], reply.metrics["class.1"]) == (12, 12)


def test_newtons_sums_that_few_people_carry_stay(two_classes, start, tmp_path):
    site = make_site(two_classes, tmp_path, min_people_in_sum=3)
    reply = site.answer(ask_task("newton", start, SEX, start_of_newton()))
    assert reply.refusal == "" and reply.metrics["people"] <= 24
    assert reply.arrays[f"probe.{HEADLINE}.hessian"].shape == (4, FEATURES + 1, FEATURES + 1)
    sure = start_of_newton()
    sure[f"probe.{HEADLINE}.scale"] += 1e9  # of features that are small: sure of everybody
    sure[f"probe.{HEADLINE}.trial"][:, 0] = 1e9
    reply = site.answer(ask_task("newton", start, SEX, sure))
    assert "asks for at least 3 people behind a sum (policy.min_people_in_sum)" in reply.refusal


def test_a_dry_run_asks_for_all_there_is(two_classes, stores):
    asked = list(task_requests(ScanStore.open(two_classes), FEATURES, 5))
    assert [probe.want for probe, _ in asked] == list(WANTS)
    assert asked[0][0].task.classes == {"0": ("F",), "1": ("M",)}


def test_what_judged_probes_tell_is_bounded(stores, start, tmp_path):
    """Many guesses at once are refused, and none is no question; by contract no error is told."""
    site = make_site(stores[0], tmp_path)
    for count in (0, 5):
        refusal = site.answer(ask_task("judge", start, extra=given(1, probes=count))).refusal
        assert refusal == (
            "this site's policy lets at most 4 probes be judged at once (policy.max_probes), found "
            f"{count}; ask about fewer, or its manager"
        )
    request = ask_task("judge", start, extra=given(1, probes=4))
    assert sum(name.endswith(".mae") for name in site.answer(request).metrics) == 4
    by_contract = request.assignment.model_copy(update={"contract": "0" * 64})
    told = site.answer(Request(request.kind, by_contract, request.arrays)).metrics
    assert told["people"] and any(name.endswith(".r2") for name in told)
    assert not any(name.endswith(".mae") for name in told)


TOO_FEW = (
    f"this site's policy lets sums of {FEATURES} features, and a probe of them, leave by "
    "themselves where the task has at least 5 people for each in every fold, and leaves out none "
    "or as many (policy.min_people_a_feature), and it has fewer; go on with its scores, or ask in "
    "a study with protect: secure_sum"
)


def test_by_default_few_people_send_no_sums_and_no_probe(two_classes, stores, start, tmp_path):
    for store, want, *asked in (
        (stores[0], "sums", start),
        (stores[0], "probe", start),
        (two_classes, "newton", start, SEX, start_of_newton()),
    ):
        site = make_site(store, tmp_path / want, min_people_a_feature=5, share_probe=True)
        reply = site.answer(ask_task(want, *asked))
        assert reply.arrays == {} and reply.refusal == TOO_FEW


@pytest.mark.parametrize("side", ["of the yardstick", "of the task"])
@pytest.mark.parametrize(("beside", "told"), [(0, True), (2, False), (15, True)])
def test_sums_leave_where_those_beside_the_task_are_nobody_or_enough(beside, told, side):
    """The yardstick's sums less the task's are of those in one of the two alone, on either side."""
    n, where = 60, np.arange(60) // 15
    features = {"mean": np.zeros((n, 3)), "std": np.zeros((n, 4))}
    of_yardstick, nobody = np.arange(beside) * 0, np.arange(0)
    if side == "of the yardstick":
        people = TaskPeople(None, features, where, 4, np.ones(n, bool), of_yardstick)
    else:
        people = TaskPeople(None, features, where, 4, np.arange(n) >= beside, nobody)
    assert people.beside.tolist() == [0] * beside
    if told:
        assert list(people.of_pools_of_enough(5).features) == ["mean"]
    else:
        with pytest.raises(Refusal, match="leaves out none or as many"):
            people.of_pools_of_enough(5)


def test_counts_are_rounded(two_classes, start, tmp_path):
    site = make_site(two_classes, tmp_path, round_counts_to=10)
    reply = site.answer(ask_task("judge", start, SEX, given(2)))
    assert [reply.metrics[k] for k in ("people", "class.0", "class.1")] == [20, 10, 10]
    assert (reply.arrays[f"probe.{HEADLINE}.histogram"].sum(2) == 10).all()
