"""The federation's figures are those of one fit on all people pooled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from brainjepa_core.sums.moments import Group, Moments, moments_to_arrays
from brainjepa_core.sums.ridge import ALPHAS
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.tasks.yardstick import FederatedYardstick

FOLDS, HELD_OUT = 5, 1
POOLS, OUTCOMES = {"mean": 6, "std": 4}, {"connectivity": 3, "latents": 2}
rng = np.random.default_rng(0)
N = 240
SITE, FOLD = rng.integers(0, 3, N), rng.integers(0, FOLDS, N)
X = {pool: 5 + rng.standard_normal((N, p)) * np.arange(1, p + 1) for pool, p in POOLS.items()}
Y = {
    outcome: sum(x[:, :1] + x[:, 1:2] for x in X.values()) * 0.3 + 2 * rng.standard_normal((N, q))
    for outcome, q in OUTCOMES.items()
}


def make_reply(who, folds=FOLD, spoil=None) -> Reply:
    moments = {
        Group(pool, outcome, k): Moments.of(x[who & (folds == k)], y[who & (folds == k)])
        for pool, x in X.items()
        for outcome, y in Y.items()
        for k in range(FOLDS)
    }
    return Reply({"people": int(who.sum())}, moments_to_arrays(moments) | (spoil or {}))


def pooled_r2(x, y, folds) -> float:
    """Penalty by leave-one-fold-out among the training folds, then the held-out fold."""

    def error(train, test, alpha, column):
        scaler = StandardScaler().fit(x[train])
        model = Ridge(alpha=alpha).fit(scaler.transform(x[train]), y[train, column])
        return ((model.predict(scaler.transform(x[test])) - y[test, column]) ** 2).sum()

    train, test = folds != HELD_OUT, folds == HELD_OUT
    scores = []
    for column in range(y.shape[1]):
        errors = [
            sum(
                error(train & (folds != k), folds == k, alpha, column)
                for k in np.unique(folds[train])
            )
            for alpha in ALPHAS
        ]
        best = ALPHAS[int(np.argmin(errors))]
        nothing = ((y[test, column] - y[train, column].mean()) ** 2).sum()
        scores.append(1 - error(train, test, best, column) / nothing)
    return float(np.mean(scores))


def add_sites(yardstick, folds=FOLD):
    for site in range(3):
        yardstick.add(make_reply(site == SITE, folds))
    return yardstick


def test_it_is_the_fit_on_all_people_pooled():
    rows = add_sites(FederatedYardstick(FOLDS, HELD_OUT)).rows("federated")
    assert [(r.model, r.pool, r.outcome, r.features) for r in rows] == [
        ("federated", pool, outcome, POOLS[pool]) for pool in POOLS for outcome in OUTCOMES
    ]
    for row in rows:
        assert row.r2 == pytest.approx(pooled_r2(X[row.pool], Y[row.outcome], FOLD), abs=1e-9)
        assert 0.05 < row.r2 < 0.9


def test_folds_of_nobody_and_sites_without_an_outcome_count_for_nothing():
    folds = np.where(FOLD == 3, 0, FOLD)
    yardstick = FederatedYardstick(FOLDS, HELD_OUT)
    for site in range(3):
        reply = make_reply(site == SITE, folds)
        kept = {n: a for n, a in reply.arrays.items() if site or "latents" not in n}
        yardstick.add(Reply(reply.metrics, kept))
    for row in yardstick.rows("m"):
        who = np.ones(N, bool) if row.outcome == "connectivity" else SITE != 0
        expected = pooled_r2(X[row.pool][who], Y[row.outcome][who], folds[who])
        assert row.r2 == pytest.approx(expected, abs=1e-9)


def test_without_people_to_fit_on_or_to_measure_there_is_no_row():
    assert FederatedYardstick(FOLDS, HELD_OUT).rows("m") == []
    for folds in (np.where(FOLD == HELD_OUT, 0, FOLD), np.where(FOLD == HELD_OUT, 1, 0)):
        assert add_sites(FederatedYardstick(FOLDS, HELD_OUT), folds).rows("m") == []


def test_an_outcome_that_does_not_vary_has_no_figure():
    constant = np.ones((N, 1))
    moments = {
        Group("mean", "latents", k): Moments.of(X["mean"][k == FOLD], constant[k == FOLD])
        for k in range(FOLDS)
    }
    yardstick = FederatedYardstick(FOLDS, HELD_OUT)
    yardstick.add(Reply({}, moments_to_arrays(moments)))
    assert np.isnan(yardstick.rows("m")[0].r2)


M = "moments.mean.connectivity.0."
GOOD = make_reply(SITE == 0)
XX = GOOD.arrays[M + "xx"]
WRONG = [
    ({"x": XX}, r"expected arrays moments.<pool>.<outcome>.<fold below 5>.<field>, found 'x'; che"),
    ({"moments.mean.sub-01.0.n": XX}, "found 'moments.mean.sub-01.0.n'"),
    ({"moments.mean.latents.5.n": XX}, "<fold below 5>"),
    ({"moments.mean.latents.00.n": XX}, "<fold below 5>"),
    (
        {"moments.std.latents.0.n": XX},
        r"'n' as float64 with shape \(\), found float64",
    ),
    ({M + "xx": XX[:4, :4]}, r"'xx' as float64 with shape \(6, 6\), found float64 .*\(4, 4\)"),
    ({M + "xx": XX.astype("f4")}, r"'xx' as float64 with shape \(6, 6\), found float32"),
    (
        {M + "yy": np.full(3, np.nan)},
        "finite values in 'yy', found 3 of 3 NaN or infinite",
    ),
    ({M + "n": np.array(-1.0)}, "expected a number of people, found n = -1"),
    ({M + "n": np.array(2.5)}, "expected a number of people, found n = 2.5"),
    ({M + "n": np.array(1e12)}, r"a set of moments over at most 1e\+09 people, found more"),
    ({M + "n": np.array(1.0)}, "expected sums of products, found some"),
    ({M + "n": np.array(0.0)}, "found some that no people's data have; check the site's version"),
    ({M + "xx": XX + np.triu(XX, 1)}, "found some that no people's data have"),
    ({M + "xx": XX + 9e3 * (1 - np.eye(6))}, "found some that no people's data have"),
    ({M + "xx": XX + 1e200 * np.eye(6)}, r"values of at most 1e\+100 in 'xx', found larger"),
    ({M + "xy": np.full((6, 3), 1e9)}, "found some that no people's data have"),
    ({M + "y_sum": np.full(3, -1e9)}, "found some that no people's data have"),
]


@pytest.mark.parametrize(("spoil", "text"), WRONG)
def test_a_site_that_does_not_fit_is_refused_and_nothing_of_it_counts(spoil, text):
    yardstick = FederatedYardstick(FOLDS, HELD_OUT)
    with pytest.raises(RejectedReply, match=text):
        yardstick.add(make_reply(SITE == 0, spoil=spoil))
    assert yardstick.rows("m") == []
    clean = add_sites(FederatedYardstick(FOLDS, HELD_OUT)).rows("m")
    assert add_sites(yardstick).rows("m") == clean


def test_widths_are_those_of_the_first_site():
    yardstick = FederatedYardstick(FOLDS, HELD_OUT)
    yardstick.add(GOOD)
    narrow = {Group("mean", "connectivity", 0): Moments.of(X["mean"][:, :5], Y["connectivity"])}
    with pytest.raises(RejectedReply, match=r"of 6 features and 3 .* found 5 and 3"):
        yardstick.add(Reply({}, moments_to_arrays(narrow)))
    with pytest.raises(RejectedReply, match="expected moments of at least one pool, found none"):
        yardstick.add(Reply())
    with pytest.raises(RejectedReply, match="no usable reply: no"):
        yardstick.add(Reply(refusal="no"))


JUNK = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([
        XX, XX * np.nan, -XX, XX.astype(object), XX[:0], np.array(1.0), np.array(1e308),
        np.array("n"), np.full((6, 6), 1e308), np.zeros(6), np.zeros((0,)),
    ]),
)  # fmt: skip
KEYS = st.sampled_from(sorted(GOOD.arrays)) | st.text(max_size=4)


@settings(max_examples=300)
@given(arrays=st.dictionaries(KEYS, JUNK, max_size=4), spoilt=st.booleans())
@pytest.mark.filterwarnings("error")
def test_no_garbage_raises_anything_else(arrays, spoilt):
    yardstick = FederatedYardstick(FOLDS, HELD_OUT)
    try:
        yardstick.add(Reply({}, (GOOD.arrays if spoilt else {}) | arrays))
    except RejectedReply:
        return
    assert all(np.isfinite(row.r2) for row in yardstick.rows("m"))
