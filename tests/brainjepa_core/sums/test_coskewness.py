"""Co-skewness of people: by the tensor itself, pooled as by sites, and foreign sums refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from brainjepa_core.sums.coskewness import CoskewnessSum, coskewness_products
from brainjepa_core.sums.protocol import total

R, F = 6, 40
ROIS = tuple("abcdef")
EVERYWHERE = np.ones(R, bool)


def scan(seed: int, frames: int = F) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((R, R)) @ (rng.exponential(size=(R, frames)) - 1)


def tensor(series: np.ndarray) -> np.ndarray:
    """Third moments of z-scored signals, by their definition."""
    z = (series - series.mean(1, keepdims=True)) / series.std(1, keepdims=True)
    return np.einsum("if,kf,lf->ikl", z, z, z) / z.shape[1]


def sum_of(people: dict[int, np.ndarray]) -> CoskewnessSum:
    found = CoskewnessSum(ROIS)
    for seed, known in people.items():
        found.add_subject([scan(seed), scan(seed + 100, 30)], known)
    return found


def test_products_are_those_of_the_tensor():
    t = tensor(scan(0))
    expected = np.einsum("ikl,jkl->ij", t, t) / R**2
    assert_allclose(coskewness_products(scan(0), EVERYWHERE), expected, rtol=1e-10)
    assert_allclose(coskewness_products(9 * scan(0) + 5, EVERYWHERE), expected, rtol=1e-8)


def test_missing_rois_are_not_read():
    known, series = np.array([1, 1, 0, 1, 1, 0], bool), scan(0)
    series[~known] = np.nan
    found = coskewness_products(series, known)
    t = tensor(series[known])
    assert_allclose(found[np.ix_(known, known)], np.einsum("ikl,jkl->ij", t, t) / 4**2, rtol=1e-10)
    assert not found[~known].any() and not found[:, ~known].any()


def test_directions_keep_most_of_peoples_tensors():
    """Against the singular vectors of all tensors side by side, and against any others."""
    found = sum_of(dict.fromkeys(range(5), EVERYWHERE)).directions(2)
    tensors = [(tensor(scan(seed)), tensor(scan(seed + 100, 30))) for seed in range(5)]
    unfolded = np.concatenate([t.reshape(R, -1) for pair in tensors for t in pair], axis=1)
    expected = np.linalg.svd(unfolded)[0][:, :2]
    assert_allclose(found @ found.T, expected @ expected.T, atol=1e-9)
    assert_allclose(found.T @ found, np.eye(2), atol=1e-12)

    def kept(directions: np.ndarray) -> float:
        return float(np.square(directions.T @ unfolded).sum())

    others = [np.linalg.qr(np.random.default_rng(s).standard_normal((R, 2)))[0] for s in range(20)]
    assert kept(found) > max(kept(other) for other in others)


def test_sites_add_up_to_all_people():
    lacking = EVERYWHERE.copy()
    lacking[3] = False
    people = {0: EVERYWHERE, 1: lacking, 2: EVERYWHERE, 3: EVERYWHERE, 4: lacking}
    parts = [{0: EVERYWHERE, 1: lacking}, {2: EVERYWHERE}, {3: EVERYWHERE, 4: lacking}]
    pooled, sites = sum_of(people), [sum_of(part) for part in parts]
    sent = [CoskewnessSum.from_arrays(site.to_arrays()) for site in sites]
    together = total(sent)
    assert_allclose(together.products, pooled.products, rtol=1e-12)
    assert np.array_equal(together.pair_count, pooled.pair_count) and together.people == 5
    a, b = together.directions(3), pooled.directions(3)
    assert_allclose(a @ a.T, b @ b.T, atol=1e-9)
    own = np.cumsum([0, *range(R, 1, -1)])  # of each ROI with itself
    assert together.pair_count[own].tolist() == [5, 5, 5, 3, 5, 5]


def test_what_few_people_are_behind_is_not_told():
    lacking = EVERYWHERE.copy()
    lacking[0] = False
    whole = sum_of({0: EVERYWHERE, 1: lacking, 2: lacking})
    told = whole.told(2)
    assert told.people == 3 and not told.products[:R].any() and not told.pair_count[:R].any()
    assert np.array_equal(told.products[R:], whole.products[R:])
    nobody = whole.told(4)
    assert nobody.people == 0 and not nobody.products.any()
    with pytest.raises(ValueError, match="expected every ROI in at least one person, found none w"):
        told.directions(2)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("products", lambda a: -a, "found some that no people's data have"),
        ("products", lambda a: a + 99 * (np.arange(a.size) == 1), "that no people's data have"),
        ("pair_count", lambda a: a + 9, "expected no pair in more than the 2 people"),
        ("products", lambda a: a[:-1], "products"),
        ("products", lambda a: a * np.nan, "expected finite values in 'products'"),
        ("pair_count", lambda a: 0 * a, "found some that no people's data have"),
    ],
)
def test_what_no_people_have_is_refused(name, change, text):
    arrays = sum_of({0: EVERYWHERE, 1: EVERYWHERE}).to_arrays()
    with pytest.raises(ValueError, match=text):
        CoskewnessSum.from_arrays({**arrays, name: change(arrays[name])})


def test_scans_that_tell_nothing_are_refused():
    found = CoskewnessSum(ROIS)
    still = scan(0)
    still[2] = 1.0
    for series, text in ((still, "finite and vary"), (scan(0)[:, :2], r"found shape \[6, 2\]")):
        with pytest.raises(ValueError, match=text):
            found.add_subject([series], EVERYWHERE)
    with pytest.raises(ValueError, match="expected at least one scan"):
        found.add_subject([], EVERYWHERE)
    with pytest.raises(ValueError, match="expected scans of 5 ROIs, found 6"):
        found.add_subject([scan(0)], np.ones(5, bool))
    with pytest.raises(ValueError, match=r"expected scans of 6 ROIs, found \[5\]"):
        found.add_products(np.zeros(15), np.ones(5, bool))
    assert found.people == 0 and not found.products.any()
    with pytest.raises(ValueError, match="expected between 1 and 6 directions, found 7"):
        found.directions(7)
