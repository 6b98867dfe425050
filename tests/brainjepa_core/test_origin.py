"""A folder of results belongs to what it was made from; what differs is named, values are not."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.origin import ORIGIN, claim_folder, digest, require_origin

PARTS = {"scans": "ab", "settings": {"tr": 2.0, "rois": ["a", "b"]}}
VALUES = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a"])
TREES = st.dictionaries(
    st.sampled_from("abc"),
    VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from("ab"), VALUES),
)


def refusal(folder: Path, parts: object, results: tuple[str, ...] = ("final",)) -> str:
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        claim_folder(folder, parts, results)
    return str(caught.value)


@given(TREES, TREES)
def test_equal_parts_and_no_others(first, second):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "new"
        claim_folder(folder, first, ())
        claim_folder(folder, first, ())
        if json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True):
            claim_folder(folder, second, ())
        else:
            assert "as the results in this folder were made from" in refusal(folder, second)
        assert json.loads((folder / ORIGIN).read_text()) == first  # a refusal changes nothing


@pytest.mark.parametrize(
    ("parts", "differ"),
    [
        ({**PARTS, "scans": "cd"}, "scans"),
        ({"scans": "cd", "settings": {**PARTS["settings"], "tr": 0.8}}, "scans, settings.tr"),
        ({"scans": "ab"}, "settings.rois, settings.tr"),
        ({**PARTS, "people": None}, "people"),
        (
            {**PARTS, **dict.fromkeys("abcdefgh")},
            "a, b, c, d, e, f and 2 more",
        ),
    ],
)
def test_what_differs_is_named(tmp_path, parts, differ):
    claim_folder(tmp_path, PARTS, ())
    assert refusal(tmp_path, parts) == (
        f"expected the same {differ} as the results in this folder were made from (origin.json), "
        "found others; go back to those, or start a new folder"
    )


def test_results_that_do_not_say_what_they_were_made_from(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    require_origin(tmp_path, PARTS, ("states", "final"))
    (tmp_path / "final").mkdir()
    assert refusal(tmp_path, PARTS, ("states", "final")) == (
        "expected a new folder, or origin.json beside final, found none, so that nothing says "
        "what these results were made from; start a new folder"
    )
    assert not (tmp_path / ORIGIN).exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "\udcff"])
def test_a_damaged_origin(tmp_path, content):
    (tmp_path / ORIGIN).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert refusal(tmp_path, PARTS).startswith("expected a readable origin.json in the folder of")


def test_asking_claims_nothing(tmp_path):
    require_origin(tmp_path / "new", PARTS, ("final",))
    assert not (tmp_path / "new").exists()


def test_a_digest_knows_no_order_of_keys():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1, "b": [2, 3]}) != digest({"a": 1, "b": [3, 2]})
