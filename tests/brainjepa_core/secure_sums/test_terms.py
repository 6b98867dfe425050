from __future__ import annotations

import importlib

import pytest
from made_sums import Sum, terms

from brainjepa_core import secure_sums
from brainjepa_core.consortium.summing import threshold
from brainjepa_core.secure_sums.messages import of_sum


@pytest.mark.parametrize(("sites", "needed"), [(3, 3), (4, 3), (5, 4), (6, 5), (12, 9), (40, 27)])
def test_the_threshold_is_more_than_two_thirds(sites, needed):
    assert threshold(sites) == needed > 2 * sites / 3 >= needed - 1


@pytest.mark.parametrize("sites", [0, 1, 2])
def test_fewer_than_three_sites(sites):
    with pytest.raises(ValueError, match=f"at least 3 sites in a secure sum, found {sites}; in a"):
        terms(sites)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"contract": "c" * 63}, "expected the contract of a secure sum as"),
        ({"request": "../x"}, "expected the request of a secure sum as .* found '../x'"),
        ({"question": "../x"}, "expected the question of a secure sum as .* found '../x'"),
        ({"round": -1}, "expected round and attempt counted from 0, found -1 and 0"),
        ({"roster": {"a": "1", "b": "2", "c d": "3"}}, "names of sites, each .* found 'c d'"),
        ({"roster": {"a": "1", "b": "2", "c": "2"}}, "found one key under two names"),
    ],
)
def test_terms_that_cannot_be(changed, text):
    with pytest.raises(ValueError, match=text):
        terms(4, **changed)


def test_a_site_that_is_not_in_the_roster(tmp_path):
    made = Sum(tmp_path, 4)
    with pytest.raises(
        ValueError, match="expected this site, 'site-07', in the roster of the secu"
    ):
        made.site(7).keys(of_sum(made.terms, {}))


def test_without_cryptography(monkeypatch):
    monkeypatch.setattr("brainjepa_core.extras.importlib.util.find_spec", lambda module: None)
    with pytest.raises(
        ValueError,
        match=r"cryptography, which is not installed; pip install 'brainjepa-federated\[federatio",
    ):
        importlib.reload(secure_sums)
