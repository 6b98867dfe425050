"""YAML that keeps its lines: a key written twice is an error, and every field knows its place."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainjepa_core.problems import plainly

_TABS = "found character '\\t' that cannot start any token"
_WORDS = (  # what PyYAML says; what that is; how to mend it
    (_TABS, "a tab", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a ': ' where no field can be",
        "put the value into quotes, or correct the indentation",
    ),
    ("expected ',' or ']'", "a '[' without its ']'", "close the list"),
    ("expected ',' or '}'", "a '{' without its '}'", "close the bracket"),
    ("expected the node content", "nothing where a value should be", "write one"),
    ("expected <block end>", "other indentation than before", "align it with its neighbours"),
    ("could not find expected ':'", "a line without ': '", "write 'field: value'"),
    ("unexpected end of stream", "a quote that is not closed", "close it"),
    ("but found another document", "a second document ('---')", "keep one"),
    ("found undefined alias", "a '*' whose '&' is nowhere", "put the value into quotes"),
    ("could not determine a constructor", "a '!' that is not known", "write plain values"),
    ("unhashable key", "a list or fields as a name", "write 'field: value'"),
)


@dataclass(frozen=True)
class Document:
    """A file's content, and where in the file it is written.

    Attributes
    ----------
    content : object
        What `yaml.safe_load` makes of it.
    text : str
        As it is in the file.
    """

    content: Any
    text: str
    _root: yaml.Node | None

    def line(self, place: Sequence[Hashable]) -> int | None:
        """Line, from 1, of a field or of an item of a list; None where it is not written."""
        node, line = self._root, None
        for step in place:
            found = next((pair for pair in _inside(node) if str(pair[0]) == str(step)), None)
            if found is None:
                return None
            _, line, node = found
        return line

    def nearest_line(self, place: Sequence[Hashable]) -> int | None:
        """Line of a field, or of the innermost field around it that is written."""
        lines = (self.line(place[:length]) for length in range(len(place), 0, -1))
        return next((line for line in lines if line is not None), None)


def read_yaml(path: str | Path, known: Document | None = None) -> Document:
    """Read a YAML file.

    Parameters
    ----------
    path : path
    known : Document, optional
        What was read before, which is given back where the file has that text still: PyYAML takes
        milliseconds.

    Raises
    ------
    ValueError
        Naming the file, and line and column where it is no YAML; of a key that is written twice,
        both lines.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"{path.name}: expected a readable YAML file, found {plainly(error)}: "
            f"'{path}'; correct the path, or save the file as UTF-8"
        ) from error
    if known is not None and known.text == text:
        return known
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), text, root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place, found, mend = f" line {line}", "a character that YAML forbids", "remove it"
    except yaml.MarkedYAMLError as error:
        place, found, mend = _place(error.problem_mark), *_in_words(str(error.problem))
    except Exception as error:  # PyYAML has few errors of its own where nesting is deep
        place, found, mend = "", plainly(error), "look at the file"
    raise ValueError(f"{path.name}{place}: expected YAML, found {found}; {mend}")


def _in_words(problem: str) -> tuple[str, str]:
    for fragment, found, mend in _WORDS:
        if fragment in problem:
            return found, mend
    found, _, mend = problem.partition("; ")
    return found.rpartition("but found ")[2].removeprefix("found "), mend or "correct the line"


def _place(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}"


def _inside(node: yaml.Node | None) -> Iterator[tuple[object, int, yaml.Node]]:
    """Name (or number), line and value of what is in a node; the last of a name comes first."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # after `<<`, whose keys come before one's own
            yield key.value, key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield number, value.start_mark.line + 1, value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, where a repeated key and a strange value are errors with a line."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, mark = (key.tag, key.value), key.start_mark
            if name in first:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' a second time (first in line {first[name].line + 1}); "
                    "keep one of the two",
                    problem_mark=mark,
                )
            first[name] = mark
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # `2024-13-45`, `!!int ''`
            raise yaml.MarkedYAMLError(
                problem="a value that only begins like a number or a date; put it into quotes",
                problem_mark=node.start_mark,
            ) from error
