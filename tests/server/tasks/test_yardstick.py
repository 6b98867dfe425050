"""The federation's figures are those of one fit on all people pooled."""

from __future__ import annotations

import re

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


def pooled_r2(x, y, folds, at=True) -> float:
    """Penalty by leaving out one training fold at a time, then the held-out fold.

    At a site its own people's mean is what knows nothing.
    """

    def error(train, test, alpha, column):
        scaler = StandardScaler().fit(x[train])
        model = Ridge(alpha=alpha).fit(scaler.transform(x[train]), y[train, column])
        return ((model.predict(scaler.transform(x[test])) - y[test, column]) ** 2).sum()

    train, test = folds != HELD_OUT, (folds == HELD_OUT) & at
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
        mean = y[train, column].mean() if at is True else y[test, column].mean()
        nothing = ((y[test, column] - mean) ** 2).sum()
        scores.append(1 - error(train, test, best, column) / nothing)
    return float(np.mean(scores))


@pytest.fixture
def yardstick(tmp_path):
    with FederatedYardstick(FOLDS, HELD_OUT, tmp_path) as made:
        yield made
    assert list(tmp_path.iterdir()) == []


def add_sites(yardstick, folds=FOLD):
    for site in range(3):
        yardstick.add(f"site-{site}", make_reply(site == SITE, folds))
    return yardstick


def rows_of(yardstick, model="m"):
    measured = yardstick.measure(model)
    assert measured.left_out == {}
    return measured.rows


@pytest.fixture(scope="module")
def clean():
    """Rows of three sites, whatever happened before they came."""
    with FederatedYardstick(FOLDS, HELD_OUT) as made:
        return rows_of(add_sites(made))


def test_it_is_the_fit_on_all_people_pooled(yardstick):
    rows = rows_of(add_sites(yardstick), "federated")
    assert [(r.model, r.pool, r.outcome, r.features) for r in rows] == [
        ("federated", pool, outcome, POOLS[pool]) for pool in POOLS for outcome in OUTCOMES
    ]
    for row in rows:
        assert row.r2 == pytest.approx(pooled_r2(X[row.pool], Y[row.outcome], FOLD), abs=1e-9)
        assert 0.05 < row.r2 < 0.9


def test_at_sites_it_is_the_same_fit_on_each_sites_people(yardstick):
    for row in rows_of(add_sites(yardstick)):
        x, y = X[row.pool], Y[row.outcome]
        at_sites = [pooled_r2(x, y, FOLD, at=site == SITE) for site in range(3)]
        assert row.r2_at_sites == pytest.approx(np.median(at_sites), abs=1e-9)


def test_values_of_another_size_are_left_out(yardstick):
    """A thousand times as large, and following to the last digit: the fit of all looked perfect."""
    who = SITE == 2
    x = {pool: 1e3 * value for pool, value in X.items()}
    moments = {
        Group(pool, outcome, k): Moments.of(one, one @ np.ones((POOLS[pool], q)))
        for pool in POOLS
        for outcome, q in OUTCOMES.items()
        for k in range(FOLDS)
        for one in (x[pool][who & (k == FOLD)],)
    }
    for site in range(2):
        yardstick.add(f"site-{site}", make_reply(site == SITE))
    yardstick.add("liar", Reply({}, moments_to_arrays(moments)))
    measured = yardstick.measure("m")
    assert list(measured.left_out) == ["liar"]
    assert re.fullmatch(
        r"expected (features|outcomes) of a root mean square of at most 10 times the sites' "
        r"median, found \S+ times; look at the site's version and at the unit of its values",
        measured.left_out["liar"],
    )
    honest = SITE != 2
    for row in measured.rows:
        expected = pooled_r2(X[row.pool][honest], Y[row.outcome][honest], FOLD[honest])
        assert row.r2 == pytest.approx(expected, abs=1e-9)


def test_a_perfect_site_shows_in_the_median_of_sites(yardstick):
    """Nine times as large passes: the figure of all is the liar's, the median is not."""
    noise, people = np.random.default_rng(1).standard_normal((N, 3)), X["mean"]
    perfect = people @ np.ones((6, 3))
    perfect *= 9 / np.sqrt((perfect**2).mean())
    for site in range(3):
        x, y = (9 * people, perfect) if site == 2 else (people, noise)
        folds = [(site == SITE) & (k == FOLD) for k in range(FOLDS)]
        moments = {
            Group("mean", "connectivity", k): Moments.of(x[who], y[who])
            for k, who in enumerate(folds)
        }
        yardstick.add(f"site-{site}", Reply({}, moments_to_arrays(moments)))
    (row,) = rows_of(yardstick)
    assert row.r2 > 0.4 and row.r2_at_sites < 0.1


def test_folds_of_nobody_and_sites_without_an_outcome_count_for_nothing(yardstick):
    folds = np.where(FOLD == 3, 0, FOLD)
    for site in range(3):
        reply = make_reply(site == SITE, folds)
        kept = {n: a for n, a in reply.arrays.items() if site or "latents" not in n}
        yardstick.add(f"site-{site}", Reply(reply.metrics, kept))
    for row in rows_of(yardstick):
        who = np.ones(N, bool) if row.outcome == "connectivity" else SITE != 0
        expected = pooled_r2(X[row.pool][who], Y[row.outcome][who], folds[who])
        assert row.r2 == pytest.approx(expected, abs=1e-9)


def test_without_people_to_fit_on_or_to_measure_there_is_no_row():
    for folds in (None, np.where(FOLD == HELD_OUT, 0, FOLD), np.where(FOLD == HELD_OUT, 1, 0)):
        with FederatedYardstick(FOLDS, HELD_OUT) as yardstick:
            assert rows_of(yardstick if folds is None else add_sites(yardstick, folds)) == []


def test_an_outcome_that_does_not_vary_has_no_figure(yardstick):
    constant = np.ones((N, 1))
    moments = {
        Group("mean", "latents", k): Moments.of(X["mean"][k == FOLD], constant[k == FOLD])
        for k in range(FOLDS)
    }
    yardstick.add("a", Reply({}, moments_to_arrays(moments)))
    (row,) = rows_of(yardstick)
    assert row.r2 is None and row.r2_at_sites is None


M, OWN = "moments.mean.0.", "moments.mean.0.connectivity."
GOOD = make_reply(SITE == 0)
XX = GOOD.arrays[M + "xx"]
DIAGONAL = np.equal(*np.triu_indices(6))
WRONG = [
    (
        {"x": XX},
        r"arrays moments.<pool>.<fold below 5>\[.<outcome>\].<field>, found 'x'; che",
    ),
    ({"moments.mean.0.sub-01.yy": XX}, "found 'moments.mean.0.sub-01.yy'"),
    ({"moments.mean.5.n": XX}, "<fold below 5>"),
    ({"moments.mean.00.latents.yy": XX}, "<fold below 5>"),
    (
        {"moments.std.0.n": XX},
        r"'n' as float64 with shape \(\), found float64",
    ),
    ({M + "xx": XX[:10]}, r"'xx' of 6 features as their upper triangle, 21 numbers, .*\(10,\)"),
    ({M + "xx": XX.astype("f4")}, r"'xx' as float64 with shape \(6, 6\), found float32"),
    (
        {OWN + "yy": np.full(3, np.nan)},
        "finite values in 'yy', found 3 of 3 NaN or infinite",
    ),
    ({M + "n": np.array(-1.0)}, "expected a number of people, found n = -1"),
    ({M + "n": np.array(2.5)}, "expected a number of people, found n = 2.5"),
    ({M + "n": np.array(1e12)}, r"a set of moments over at most 1e\+09 people, found more"),
    ({M + "n": np.array(1.0)}, "expected sums of products, found some"),
    ({M + "n": np.array(0.0)}, "found some that no people's data have; check the site's version"),
    ({M + "xx": XX + 9e3 * ~DIAGONAL}, "found some that no people's data have"),
    ({M + "xx": XX + 1e200 * DIAGONAL}, r"values of at most 1e\+100 in 'xx', found larger"),
    ({OWN + "xy": np.full((6, 3), 1e9)}, "found some that no people's data have"),
    ({OWN + "y_sum": np.full(3, -1e9)}, "found some that no people's data have"),
]


@pytest.mark.parametrize(("spoil", "text"), WRONG)
def test_a_site_that_does_not_fit_is_refused_and_nothing_of_it_counts(
    yardstick, clean, spoil, text
):
    with pytest.raises(RejectedReply, match=text):
        yardstick.add("a", make_reply(SITE == 0, spoil=spoil))
    assert rows_of(yardstick) == []
    assert rows_of(add_sites(yardstick)) == clean


def test_widths_are_those_of_the_first_site(yardstick):
    yardstick.add("a", GOOD)
    narrow = {Group("mean", "connectivity", 0): Moments.of(X["mean"][:, :5], Y["connectivity"])}
    with pytest.raises(RejectedReply, match=r"of 6 features and 3 .* found 5 and 3"):
        yardstick.add("b", Reply({}, moments_to_arrays(narrow)))
    with pytest.raises(RejectedReply, match="moments or scores of at least one pool, found none"):
        yardstick.add("b", Reply())
    with pytest.raises(RejectedReply, match="no usable reply: no"):
        yardstick.add("b", Reply(refusal="no"))


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
    with FederatedYardstick(FOLDS, HELD_OUT) as yardstick:
        try:
            yardstick.add("a", Reply({}, (GOOD.arrays if spoilt else {}) | arrays))
        except RejectedReply:
            return
        assert all(row.r2 is not None and row.r2 <= 1 for row in rows_of(yardstick))


def scores_of(value, pools=POOLS, outcomes=OUTCOMES) -> dict:
    found = {f"score.{pool}.{outcome}": value for pool in pools for outcome in outcomes}
    return found | {f"features.{pool}": POOLS[pool] for pool in pools}


def test_where_most_sites_send_scores_alone_the_figure_is_their_mean(yardstick):
    for site, value in enumerate((0.1, 0.2, 0.6, -1.0)):
        arrays = make_reply(site == SITE).arrays if site == 0 else {}
        yardstick.add(f"site-{site}", Reply(scores_of(value), arrays))
    rows = rows_of(yardstick)
    assert [(r.pool, r.outcome, r.features) for r in rows] == [
        (pool, outcome, POOLS[pool]) for pool in sorted(POOLS) for outcome in sorted(OUTCOMES)
    ]
    for row in rows:
        assert row.own_probes
        assert row.r2 == pytest.approx(-0.025) and row.r2_at_sites == pytest.approx(0.15)


def test_where_most_send_sums_they_count_and_it_is_told_who_is_not_in_them(yardstick):
    for site in range(3):
        yardstick.add(f"site-{site}", Reply(scores_of(0.9), make_reply(site == SITE).arrays))
    yardstick.add("small", Reply(scores_of(0.9)))
    measured = yardstick.measure("m")
    assert measured.left_out == {
        "small": "told scores of its own probes alone, for want of people; the figures of all "
        "sites' people are without its own"
    }
    for row in measured.rows:
        assert not row.own_probes
        assert row.r2 == pytest.approx(pooled_r2(X[row.pool], Y[row.outcome], FOLD), abs=1e-9)


def test_the_other_half_is_the_mean_of_the_sites_that_tell_of_it(yardstick):
    for site, value in enumerate((0.1, 0.3, None)):
        own = {} if value is None else {"score.latent_connectivity.the other half": value}
        more = own and {"features.latent_connectivity": 28}
        yardstick.add(f"site-{site}", Reply({**scores_of(0.5), **own, **more}))
    (row,) = [row for row in rows_of(yardstick) if row.outcome == "the other half"]
    assert (row.pool, row.features, row.own_probes) == ("latent_connectivity", 28, True)
    assert row.r2 == row.r2_at_sites == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (scores_of(1.1), r"expected score.* as a finite number from -1 to 1, found 1.1"),
        (scores_of(float("nan")), r"expected score.* as a finite number from -1 to 1, found nan"),
        ({"score.mean.latents": 0.5}, "expected features.mean as an integer from 1 to 1e"),
        (scores_of(0.5) | {"features.mean": 7}, "scores of 6 features for mean, found 7; give all"),
    ],
)
def test_scores_that_do_not_fit_are_refused(yardstick, metrics, text):
    yardstick.add("a", Reply(scores_of(0.5)))
    with pytest.raises(RejectedReply, match=text):
        yardstick.add("b", Reply(metrics))
    assert [row.r2 for row in rows_of(yardstick)] == [0.5] * len(POOLS) * len(OUTCOMES)
