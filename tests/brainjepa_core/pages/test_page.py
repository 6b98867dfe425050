"""The base page: nothing becomes markup, nothing is fetched, tables and pictures are within."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from brainjepa_core.pages.made import Made
from brainjepa_core.pages.page import _templates, render, write_page
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Cell, Row, Table, settings_table
from brainjepa_core.pages.terms import TERMS

PACKAGE = "brainjepa_core.pages"
MADE = Made("2026-01-02 03:04 UTC", "brainjepa demo", "brainjepa 1", "abc", "4 s")
ALL = """{% extends "pages/base.html" %}
{% from "pages/parts.html" import note, picture, table %}
{% block main %}{{ note(text) }}{{ table(one) }}{{ picture(drawn) }}{% endblock %}"""


class Reader(HTMLParser):
    """Elements, attributes and texts outside the style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tags[-1] != "style":
            self.texts.append(data)


def page_of(text: str) -> Reader:
    cell = Cell(text, text, (text, text), strong=True)
    one = Table((text, text), [Row((text, cell), "best")], ("name",))
    drawn = Picture(text, 5, "data:image/png;base64,", "data:image/png;base64,")
    content = {
        "made": MADE,
        "title": text,
        "subtitle": text,
        "text": text,
        "one": one,
        "drawn": drawn,
    }
    return Reader(_templates(PACKAGE).from_string(ALL).render(content))


@given(st.text(st.characters() | st.sampled_from("<>&\"'{%}#\x00\n\ud800"), max_size=20))
def test_text_stays_text(value):
    assume(not any(word in value for word in TERMS))  # which pages explain
    found, plain = page_of(value), page_of("plain")
    assert found.tags == plain.tags
    assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
    shown = "".join(c if c.isprintable() else " " for c in value)
    assert dict(found.attributes)["alt"] == shown
    if shown.strip():
        assert shown in found.texts[0]


def test_control_characters_are_spaces():
    assert dict(page_of("a\x00b\nc\td").attributes)["alt"] == "a b c d"


def test_a_page_has_landmarks_and_asks_for_nothing():
    found = page_of("x")
    assert found.tags.count("main") == found.tags.count("h1") == 1
    assert ("lang", "en") in found.attributes
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("content", policy) in found.attributes
    assert not {"script", "link", "iframe", "form", "object"} & set(found.tags)


def test_a_template_that_misses_a_value_is_an_error():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render(PACKAGE, "base.html")


def drawn(one: Table) -> str:
    source = '{% from "pages/parts.html" import table %}{{ table(one) }}'
    return _templates(PACKAGE).from_string(source).render(one=one)


def test_a_table_as_html():
    one = Table(("site", "n", "note"), [Row(("a", 1, "b"), "best"), Row(("c", 2.5, ""))], ("text",))
    head, first, second = re.findall(r"<tr.*?</tr>", drawn(one), re.S)
    assert head == '<tr><th class="text">site</th><th>n</th><th>note</th></tr>'
    assert first == '<tr class="best"><td class="text">a</td><td>1</td><td>b</td></tr>'
    assert second == '<tr><td class="text">c</td><td>2.5</td><td></td></tr>'
    assert "<thead>" not in drawn(Table((), [Row(("a",))]))


def test_cells_of_several_lines():
    page = drawn(Table.of((), [[Cell("0.4", " ± 0.1", ("0 to 1", "of <3>"), strong=True)]]))
    text = "<b>0.4</b> ± 0.1<br><small>0 to 1</small><br><small>of &lt;3&gt;</small>"
    assert f"<td>{text}</td>" in page


def test_settings_have_dotted_names():
    table = settings_table({"a": {"b": 1, "c": [2, 3]}, "d": []})
    assert [tuple(row.cells) for row in table.rows] == [
        ("a.b", "1"), ("a.c", "2, 3"), ("d", "none"),
    ]  # fmt: skip


def test_a_picture_is_a_png_in_the_page():
    picture = Picture.of(Figure(figsize=(2, 1)), "a")
    assert picture.width == 184 and picture.alt == "a"
    start, data = picture.source.split(",")
    assert start == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_a_page_links_to_the_files_beside_it_that_are_there(tmp_path):
    (tmp_path / "a b.tsv").touch()
    names = ("a b.tsv", "gone.tsv")
    path = write_page(
        tmp_path / "page.html", PACKAGE, "base.html", beside=names, title="t", subtitle="s"
    )
    assert '<a href="a%20b.tsv">a b.tsv</a></dd>' in path.read_text()
    assert "gone.tsv" not in path.read_text()
    plain = write_page(tmp_path / "page.html", PACKAGE, "base.html", title="t", subtitle="s")
    assert "Files beside it" not in plain.read_text()
