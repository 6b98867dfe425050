"""Parts of pages: nothing becomes markup, pictures are within."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from brainjepa_core.pages.html import embedded_picture, html_text


@given(st.text())
def test_text_stays_text(value):
    escaped = html_text(value)
    assert not set("<>\"'") & set(escaped)
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)
    parser.feed(f'<p title="{escaped}">{escaped}</p>')
    assert tags == ["p"]


def test_text_has_no_control_characters():
    assert html_text("a\x00b\nc\td") == "a b c d"


def test_a_picture_is_a_png_in_the_page():
    tag = embedded_picture(Figure(figsize=(2, 1)), 'a "b"')
    assert 'width="184"' in tag and "a &quot;b&quot;" in tag
    data = re.search(r"base64,([^\"]+)", tag)[1]
    assert base64.b64decode(data).startswith(b"\x89PNG")
