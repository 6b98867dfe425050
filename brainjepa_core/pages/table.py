"""Tables of a page as data; the macro ``table`` of ``parts.html`` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainjepa_core.settings import flatten


@dataclass(frozen=True)
class Cell:
    """More than a text in a cell.

    Attributes
    ----------
    text : str
    beside : str
        Follows the text, in the same type.
    below : tuple of str
        Lines in small type under it.
    strong : bool
        Whether the text is bold.
    """

    text: str
    beside: str = ""
    below: tuple[str, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """Cells of a row, and the class that styles it."""

    cells: Sequence[object]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Attributes
    ----------
    headings : sequence of str
    rows : sequence of Row
    columns : sequence of str
        Classes of the first columns: ``text``, ``long`` (text that wraps), ``code``. All others
        are numbers.
    """

    headings: Sequence[str]
    rows: Sequence[Row]
    columns: Sequence[str] = ()

    @classmethod
    def of(
        cls, headings: Sequence[str], cells: Iterable[Sequence[object]], columns: Sequence[str] = ()
    ) -> Table:
        """A table whose rows have no class."""
        return cls(headings, [Row(line) for line in cells], columns)


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Names and values of settings, nested ones with dots."""
    lines = [(name, _told(value)) for name, value in flatten(settings)]
    return Table.of(("setting", "value"), lines, ("code", "long"))


def _told(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
