"""A logistic probe of all sites, of which one may tell what no people's data have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from brainjepa_core.evaluation.common_probe import outcome_columns
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Moments, fold_moments
from brainjepa_core.sums.protocol import stacked
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import Counts
from brainjepa_server.rounds.sites import Answer
from brainjepa_server.tasks.newton import newton_probe

POOL, FOLDS, P, PENALTY = "mean", 3, 4, 2.0
LIAR = "site-3"
Lie = Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]]


class Consortium:
    """Four sites that answer Newton's questions; the last may change its arrays, by round."""

    def __init__(self, lie: Lie | None = None) -> None:
        rng = np.random.default_rng(0)
        self.lie, self.left_out, self.rounds = lie, {}, 0
        self.people = {}
        for number in range(4):
            x = 3 + rng.standard_normal((30, P)) * np.arange(1, P + 1)
            y = (x[:, 0] + 0.5 * x[:, 1] + rng.standard_normal(30) * 2 > 4.5).astype(float)
            self.people[f"site-{number}"] = x, y, np.arange(30) % FOLDS

    def told(self) -> dict[str, list[Moments]]:
        return {
            site: fold_moments(x, outcome_columns(y, 2), folds, FOLDS)
            for site, (x, y, folds) in self.people.items()
        }

    def ask(self, want: str, names: list[str], arrays: dict[str, np.ndarray]):
        assert want == "newton"
        self.rounds += 1
        centre, scale, trial = (arrays[f"probe.{POOL}.{n}"] for n in ("centre", "scale", "trial"))
        for site in names:
            x, y, folds = self.people[site]
            sums = [
                LogisticSums.of((x[k != folds] - centre[k]) * scale[k], y[k != folds], trial[k])
                for k in range(FOLDS + 1)
            ]
            sent = stacked(sums)
            if site == LIAR and self.lie is not None:
                sent = self.lie(sent, self.rounds)
            sent = {f"probe.{POOL}.{name}": array for name, array in sent.items()}
            yield Answer(site, Reply({}, sent), 0, 0, Counts(30, 30))

    def leave_out(self, what: str, site: str, reason: object) -> None:
        assert what == f"logistic probe of all sites ({POOL})"
        self.left_out[site] = str(reason)

    def pooled(self, sites: list[str]) -> np.ndarray:
        """Difference of the two classes' scores, of everybody, by scikit-learn."""
        x, y = (np.concatenate([self.people[s][i] for s in sites]) for i in (0, 1))
        scaler = StandardScaler().fit(x)
        fitted = LogisticRegression(C=1 / PENALTY, tol=1e-12, max_iter=10_000)
        return fitted.fit(scaler.transform(x), y).decision_function(scaler.transform(x))

    def found(self, fit, sites: list[str]) -> np.ndarray:
        x = np.concatenate([self.people[s][0] for s in sites])
        return fit.final.predict(x) @ np.array([-1.0, 1.0])


def changed(name: str, change, first: int = 1) -> Lie:
    """A lie in one array, from one round on."""
    return lambda sent, number: {**sent, name: change(sent[name])} if number >= first else sent


def test_it_is_the_pooled_fit():
    sites = Consortium()
    fit = newton_probe(sites, sites.told(), POOL, PENALTY)
    names = sorted(sites.people)
    assert sites.left_out == {} and fit.people == 120
    np.testing.assert_allclose(sites.found(fit, names), sites.pooled(names), atol=1e-5)


CANNOT_HAVE = "of the 20 people whose moments the site told, found some that they cannot have"
NOT_CONVEX = "found a loss that does not fall as its gradient says"
IMPOSSIBLE = "expected derivatives of a log loss, found some that no people's data have"
WEIGHTS = np.array([1.0] * P + [0.0])  # without the intercept
LIES = {
    "an enormous gradient": (changed("gradient", lambda g: g + 1e29 * WEIGHTS), CANNOT_HAVE),
    "a large gradient": (changed("gradient", lambda g: 40 * np.sign(g) * WEIGHTS), ""),
    "a gradient uphill": (changed("gradient", lambda g: -g), NOT_CONVEX),
    "a gradient uphill, later": (changed("gradient", lambda g: -g, first=2), NOT_CONVEX),
    "no gradient": (changed("gradient", lambda g: 0 * g), NOT_CONVEX),
    "an enormous loss": (changed("loss", lambda v: 0 * v + 1e29), CANNOT_HAVE),
    "a loss that rises": (changed("loss", lambda v: v + 9, first=2), "loss"),
    "a loss of nothing": (changed("loss", lambda v: 0 * v, first=2), NOT_CONVEX),
    "an enormous Hessian": (
        changed("hessian", lambda h: h + np.diag([1e6] * P + [0])), CANNOT_HAVE,
    ),
    "a Hessian of no columns": (
        changed("hessian", lambda h: 0 * h + 5 * np.array(
            [[1, 0.9, -0.9, 0, 0], [0.9, 1, 0.9, 0, 0], [-0.9, 0.9, 1, 0, 0], [0] * 5, [0] * 5])),
        IMPOSSIBLE,
    ),
    "more people": (changed("people", lambda n: n + 9), CANNOT_HAVE),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_site_that_tells_what_cannot_be_is_left_out_and_the_fit_begins_anew(name):
    lie, text = LIES[name]
    sites = Consortium(lie)
    fit = newton_probe(sites, sites.told(), POOL, PENALTY)
    assert list(sites.left_out) == [LIAR] and text in sites.left_out[LIAR]
    names = sorted(set(sites.people) - {LIAR})
    assert fit.people == 90 and sites.rounds < 30
    np.testing.assert_allclose(sites.found(fit, names), sites.pooled(names), atol=1e-5)


def test_a_small_hessian_only_makes_steps_too_long():
    sites = Consortium(changed("hessian", lambda h: 0 * h))
    fit = newton_probe(sites, sites.told(), POOL, PENALTY)
    names = sorted(sites.people)
    assert sites.left_out == {}
    np.testing.assert_allclose(sites.found(fit, names), sites.pooled(names), atol=1e-4)


def test_where_nobody_stays_there_is_no_fit():
    sites = Consortium(changed("loss", lambda v: -v))
    told = {LIAR: sites.told()[LIAR]}
    assert newton_probe(sites, told, POOL, PENALTY) is None
    assert sites.left_out["all"] == "expected sites to the end, found none that stayed"
