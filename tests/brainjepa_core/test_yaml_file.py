"""YAML with its lines: what is written twice or wrongly is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.yaml_file import Document, read_yaml


def read(folder: Path, text: str) -> Document:
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return read_yaml(folder / "a.yaml")


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ValueError) as error:
        read(folder, text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "place", "key", "first"),
    [
        ("name: a\npolicy: {}\nstore: x\npolicy: {}", "4, column 1", "policy", 2),
        ("policy:\n  allow: []\n  allow: []\n", "3, column 3", "allow", 2),
        ("a: {b: 1, 'b': 2}", "1, column 11", "b", 1),
        ("- x: 1\n- y: 1\n  y: 2", "3, column 3", "y", 2),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a", "4, column 3", "<<", 3),
    ],
)
def test_a_key_that_is_written_twice_is_refused(tmp_path, text, place, key, first):
    assert refusal(tmp_path, text) == (
        f"a.yaml line {place}: expected YAML, found '{key}' a second time (first in line {first}); "
        "keep one of the two"
    )


def test_a_key_that_is_merged_in_may_be_replaced(tmp_path):
    found = read(tmp_path, "a: &a {b: 1, c: 1}\nd:\n  <<: *a\n  b: 2\ne:\n  <<: *a\n")
    assert found.content["d"] == {"b": 2, "c": 1} and found.content["e"] == {"b": 1, "c": 1}
    assert (found.line(("d", "b")), found.line(("d", "c"))) == (4, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: [1", " line 1, column 9: expected YAML, found a '[' without its ']'; close the "),
        (
            "name: {",
            " line 1, column 8: expected YAML, found nothing where a value should be; w",
        ),
        ("name: {a: 1", " line 1, column 12: expected YAML, found a '{' without its '}'; close "),
        (
            "name: a: b",
            " line 1, column 8: expected YAML, found a ': ' where no field can be; put the value "
            "into quotes, or correct the indentation",
        ),
        ("name: x\n\twindow: 3", " line 2, column 1: expected YAML, found a tab; indent with s"),
        ("a:\n  b: 1\n c: 2", " line 3, column 2: expected YAML, found other indentation than "),
        ("a: 1\nbc\nd: 2", " line 3, column 1: expected YAML, found a line without ': '; write '"),
        ("a: 'b", " line 1, column 6: expected YAML, found a quote that is not closed; close it"),
        ("a: 1\n---\nb: 2", " line 2, column 1: expected YAML, found a second document ('---'); "),
        ("a: *b", " line 1, column 4: expected YAML, found a '*' whose '&' is nowhere; put the "),
        ("a: !!python/name:os x", " line 1, column 4: expected YAML, found a '!' that is not "),
        ("? [a]\n: 1", " line 1, column 3: expected YAML, found a list or fields as a name; w"),
        ("a: 1\nb: \x07", " line 2: expected YAML, found a character that YAML forbids; remove it"),
        # Scalars that the yaml package itself stumbles over.
        ("name: 2024-13-45", " line 1, column 7: expected YAML, found a value that only begins "),
        ("name: !!int ''", " line 1, column 7: expected YAML, found a value that only begins like"),
        ("name: !!bool maybe", " line 1, column 7: expected YAML, found a value that only begins"),
        ("[" * 999, ": expected YAML, found brackets nested too deeply; look at the file"),
    ],
)
def test_what_is_not_yaml_is_refused(tmp_path, text, problem):
    assert refusal(tmp_path, text).startswith(f"a.yaml{problem}")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: Zürich".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    for name, found in (
        ("latin.yaml", "bytes that are not text in UTF-8"),
        ("absent.yaml", "no such file"),
        ("folder.yaml", "a folder"),
    ):
        with pytest.raises(ValueError) as error:
            read_yaml(tmp_path / name)
        assert str(error.value) == (
            f"{name}: expected a readable YAML file, found {found}: '{tmp_path / name}'; "
            "correct the path, or save the file as UTF-8"
        )


words = st.text("abcxyz", min_size=1, max_size=4)
trees = st.recursive(
    st.integers(0, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


def places(tree: object, start: tuple = ()) -> list[tuple[tuple, object]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for step, value in inside:
        found.append(((*start, step), value))
        if isinstance(value, dict | list):
            found += places(value, (*start, step))
    return found


@given(tree=st.dictionaries(words, trees, max_size=4), flow=st.booleans(), before=st.integers(0, 3))
def test_the_content_is_yaml_s_own_and_every_field_has_its_line(
    tmp_path_factory, tree, flow, before
):
    text = "# a comment\n" * before + yaml.safe_dump(tree, default_flow_style=flow, width=20)
    found = read(tmp_path_factory.mktemp("yaml"), text)
    assert found.content == yaml.safe_load(text) == tree
    for place, value in places(tree):
        line = text.splitlines()[found.line(place) - 1]
        shown = place[-1] if isinstance(place[-1], str) else value
        assert isinstance(shown, dict | list) or str(shown) in line
        assert found.nearest_line((*place, "absent")) == found.line(place)
    assert found.line(("absent",)) is None and found.nearest_line(("absent",)) is None
