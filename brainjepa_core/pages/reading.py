"""What helps to read a page: its contents, and words of the field explained where they stand."""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple

from brainjepa_core.pages.terms import TERMS

_TAG = re.compile(r"(<[^>]*>)")
_HEADING = re.compile(r"<(h[23])>(.*?)</h[23]>", re.S)
_WORDS = re.compile(
    rf"(?<![\w-])({'|'.join(map(re.escape, sorted(TERMS, key=len, reverse=True)))})(?![\w-])"
)
PLAIN = (
    "code", "script", "style", "h1", "h2", "summary", "button", "a", "dialog", "b", "svg",
)  # fmt: skip
CODE = 'class="code"'  # cells with names of settings


class Heading(NamedTuple):
    """A line of the contents."""

    level: str
    anchor: str
    text: str


class Readable(NamedTuple):
    """A page's body with anchors and explained words.

    Attributes
    ----------
    body : str
        HTML, escaped already, as the texts of `contents` are.
    contents : list of Heading
    words : dict of str to str
        Explained words that occur, in alphabetical order.
    """

    body: str
    contents: list[Heading]
    words: dict[str, str]


def readable(body: str) -> Readable:
    """Give headings anchors, and explain each word where a section has it first."""
    contents: list[Heading] = []

    def anchored(found: re.Match[str]) -> str:
        level, text = found.groups()
        anchor = f"part-{len(contents) + 1}"
        contents.append(Heading(level, anchor, _TAG.sub("", text)))
        return f'<{level} id="{anchor}">{text}</{level}>'

    parts = _TAG.split(_HEADING.sub(anchored, body))
    words: set[str] = set()
    seen: set[str] = set()  # in this section
    within: list[str] = []  # elements whose text stays as it is

    def explained(found: re.Match[str]) -> str:
        word = found[1]
        words.add(word)
        if word in seen:
            return word
        seen.add(word)
        return f'<abbr title="{escape(TERMS[word])}">{word}</abbr>'

    for i, part in enumerate(parts):
        if not part.startswith("<"):
            if not within:
                parts[i] = _WORDS.sub(explained, part)
            continue
        name = part.strip("</>").split()[0] if part.strip("</>") else ""
        if name == "h2":
            seen.clear()
        if within:
            if part == f"</{within[-1]}>":
                within.pop()
        elif not part.startswith("</") and (name in PLAIN or CODE in part):
            within.append(name)
    return Readable("".join(parts), contents, {w: TERMS[w] for w in sorted(words, key=str.lower)})
