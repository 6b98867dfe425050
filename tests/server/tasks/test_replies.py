"""What sites say of a task is garbage until shown otherwise, and garbage has one exception."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.evaluation.common_probe import outcome_columns
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.sums.histogram import BINS
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Group, fold_moments, moments_to_arrays
from brainjepa_core.sums.protocol import stacked, total
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import ProbeRequest, Reply
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.tasks.replies import (
    checked_gradients,
    checked_judgement,
    checked_moments,
    checked_probe,
    checked_scores,
)

SEX = TaskSettings(
    name="sex", column="sex", kind="classification", classes={"f": ("F",), "m": ("M",)}
)
PROBE = ProbeRequest(want="scores", task=SEX, pools=("mean",))
rng = np.random.default_rng(0)
N, P, F = 30, 3, 3
X, Y, FOLDS = rng.standard_normal((N, P)), np.arange(N) % 2.0, np.arange(N) % F
PEOPLE = {"people": N, "class.0": N // 2, "class.1": N // 2}
M = "moments.mean.0."


def sums() -> Reply:
    moments = enumerate(fold_moments(X, outcome_columns(Y, 2), FOLDS, F))
    groups = {Group("mean", "target", k): m for k, m in moments}
    return Reply(dict(PEOPLE), dict(moments_to_arrays(groups)))


def gradients() -> Reply:
    found = [LogisticSums.of(X[k != FOLDS], Y[k != FOLDS], np.ones(P + 1)) for k in range(F)]
    return Reply(dict(PEOPLE), stacked(found, "probe.mean."))


def scores() -> Reply:
    models = ("nothing", "connectivity", "mean")
    return Reply({**PEOPLE, **{f"{m}.auc": 0.5 for m in models}, "mean.accuracy": 1, "else": "x"})


def own_probe() -> Reply:
    arrays = {"probe.mean.weights": np.ones((P, 2)), "probe.mean.intercept": np.ones(2)}
    return Reply({**PEOPLE, "mean.auc": 0.7}, arrays)


def judgement() -> Reply:
    counts = np.zeros((2, 2, BINS), np.int64)
    counts[:, :, 3] = N // 2
    metrics = {**PEOPLE, "mean.0.auc": 0.5, "mean.1.auc": 0.6}
    return Reply(metrics, {"probe.mean.histogram": counts})


LIKE = Ridge(np.zeros((P, 2)), np.zeros(2))
CHECKS = {
    "sums": (sums, lambda r: checked_moments(r, PROBE, 2, F, {"mean": P})),
    "gradients": (gradients, lambda r: checked_gradients(r, "mean", F, P + 1)),
    "scores": (scores, lambda r: checked_scores(r, PROBE, 2, ("nothing", "connectivity", "mean"))),
    "probe": (own_probe, lambda r: checked_probe(r, PROBE, 2, LIKE)),
    "judgement": (judgement, lambda r: checked_judgement(r, PROBE, 2, 2, counted=True)),
}


def test_good_replies_pass_with_their_values():
    found = {name: check(make()) for name, (make, check) in CHECKS.items()}
    assert [m.n for m in found["sums"]["mean"]] == [10, 10, 10]
    assert [s.n for s in found["gradients"]] == [20, 20, 20]
    assert found["scores"] == (30, (15, 15), {
        "nothing": {"auc": 0.5}, "connectivity": {"auc": 0.5},
        "mean": {"auc": 0.5, "accuracy": 1.0},
    })  # fmt: skip
    assert found["probe"][1] == {"auc": 0.7}
    assert found["judgement"].metrics == [{"auc": 0.5}, {"auc": 0.6}]
    assert total(found["judgement"].histograms).people == 60


EYE = np.eye(P)[np.triu_indices(P)]
H = gradients().arrays["probe.mean.hessian"]
WRONG = [
    ("scores", {"people": -1}, {}, "people as an integer from 0 to 1e+09, found one out"),
    ("scores", {"people": 30.0}, {}, "people as an integer from 0 to 1e+09, found a float"),
    ("scores", {"class.1": 16}, {}, "expected classes of at most 30 people in all, found 31"),
    ("scores", {"mean.auc": 1.2}, {}, "mean.auc as a finite number from 0 to 1, found 1.2"),
    ("scores", {"mean.auc": float("nan")}, {}, "expected mean.auc as a finite number"),
    ("scores", {}, {"x": X}, "expected 0 arrays, found 0 of them missing and 1 unknown (x)"),
    ("sums", {}, {"moments.mean.0.sub-01.n": X}, "and 1 unknown (moments.mean.0.sub-01.n)"),
    ("sums", {}, {M + "n": np.array(2.5)}, "expected a number of people, found n = 2.5"),
    ("sums", {}, {M + "xx": -EYE}, "expected sums of products, found some that no"),
    ("sums", {}, {M + "xx": EYE * 1e200}, "values of at most 1e+100 in 'xx', found"),
    ("sums", {}, {M + "target.y_sum": np.array([4.5, 5.5])}, "found some that no people's data"),
    ("sums", {}, {M + "target.yy": np.array([5.0, 9.0])}, "found some that no people's data"),
    ("sums", {"people": 40}, {}, "expected sums of the 40 people that are told (rounded down)"),
    ("gradients", {}, {"probe.mean.loss": np.full(F, -1.0)}, "derivatives of a log loss, found"),
    ("gradients", {}, {"probe.mean.hessian": H * 100}, "derivatives of a log loss, found some"),
    ("gradients", {}, {"probe.mean.hessian": H + np.triu(H[0], 1)}, "derivatives of a log loss"),
    ("gradients", {}, {"probe.mean.hessian": H[:, :2]}, "'hessian' as float64 with shape (4,"),
    ("gradients", {}, {"probe.mean.loss": np.full(F, 1e31)}, "values of at most 1e+30 in 'loss'"),
    ("probe", {}, {"probe.mean.weights": np.ones((P + 1, 2))}, "of shape [3, 2], found float64 of"),
    ("probe", {}, {"probe.mean.weights": np.full((P, 2), 1e31)}, "expected weights of a probe bel"),
    ("probe", {}, {"probe.mean.intercept": np.full(2, np.nan)}, "found 2 of 2 NaN or infinite"),
    ("judgement", {"mean.1.auc": "1"}, {}, "expected mean.1.auc as a finite number from 0 to 1, f"),
    (
        "judgement", {}, {"probe.mean.histogram": np.ones((2, 2, BINS), np.int64)},
        "expected counts of scores of 15 and 15 people, found others",
    ),
    (
        "judgement", {}, {"probe.mean.histogram": np.ones((2, 2, BINS))},
        "expected 'histogram' as int64 with shape (2, 1000), found float64 with shape",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "metrics", "arrays", "text"), WRONG)
def test_what_does_not_fit_is_rejected(what, metrics, arrays, text):
    make, check = CHECKS[what]
    reply = make()
    with pytest.raises(RejectedReply, match=re.escape(text)):
        check(Reply({**reply.metrics, **metrics}, {**reply.arrays, **arrays}))


def test_a_refusal_is_a_reason():
    for _, check in CHECKS.values():
        with pytest.raises(RejectedReply, match="no usable reply: my policy"):
            check(Reply(refusal="my policy"))


def test_classes_too_small_to_be_told_may_be_empty():
    counts = judgement().arrays["probe.mean.histogram"] * np.array([0, 1])[:, None]
    found = CHECKS["judgement"][1](Reply(judgement().metrics, {"probe.mean.histogram": counts}))
    assert [h.classes for h in found.histograms] == [(0, 15), (0, 15)]


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400),
    st.sampled_from([
        X, X * np.nan, -H, H.astype(object), X[:0], np.array(1.0), np.array(1e308), np.array("n"),
        np.full((F, P + 1, P + 1), 1e308), np.zeros(0), np.full((2, 2, BINS), 2**62),
        np.full((2, 2, BINS), -(2**62)), np.zeros((P, 2)), np.ones(2, np.float32),
    ]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data(), what=st.sampled_from(sorted(CHECKS)))
@pytest.mark.filterwarnings("error")
def test_no_garbage_raises_anything_else(data, what):
    make, check = CHECKS[what]
    reply = make() if data.draw(st.booleans()) else Reply()
    for part in (reply.metrics, reply.arrays):
        keys = st.sampled_from([*sorted(part), "x"]) | st.text(max_size=3)
        part.update(data.draw(st.dictionaries(keys, JUNK, max_size=2)))
    try:
        check(reply)
    except RejectedReply:
        return
    people = reply.metrics["people"] if what != "gradients" else N
    assert people <= N if what == "sums" else people >= N
