"""What is known of people: BIDS ``participants.tsv`` and the tables of a ``phenotype`` folder.

No error names a person: they say which table, which column, and how many.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PERSON, SESSION = "participant_id", "session_id"
UNKNOWN = ("n/a", "nan")


@dataclass(frozen=True)
class Phenotypes:
    """Values by column, of people and of their sessions.

    Attributes
    ----------
    people : mapping of str to dict
        Columns of each person, whose name has no ``sub-``.
    sessions : mapping of (str, str) to dict
        Columns of tables with ``session_id``, by person and session without prefixes.
    descriptions : mapping of str to str
        What a column means, with its unit, where a JSON says it.
    """

    people: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    sessions: Mapping[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def of(self, subject: str, session: str = "") -> dict[str, Any]:
        """Columns of a scan; a session's own value replaces the person's.

        Parameters
        ----------
        subject, session : str
            With or without ``sub-`` and ``ses-``.
        """
        person = _label(subject)
        own = self.sessions.get((person, session.removeprefix("ses-")), {})
        return {**self.people.get(person, {}), **own}


def read_phenotypes(source: str | Path | Sequence[Path]) -> Phenotypes:
    """Read tables of people, with their JSON (``Levels``, ``Units``, ``Description``).

    Parameters
    ----------
    source : path or sequence of paths
        Tables; or a BIDS folder, of which ``participants.tsv`` and ``phenotype/*.tsv`` are taken.

    Raises
    ------
    ValueError
        If a table cannot be read, lists someone twice, or contradicts another.
    """
    people: dict[str, dict[str, Any]] = {}
    sessions: dict[tuple[str, str], dict[str, Any]] = {}
    descriptions: dict[str, str] = {}
    for table in _tables(source):
        columns = _read_json(table.with_suffix(".json"))
        descriptions |= {name: text for name, facts in columns.items() if (text := _meaning(facts))}
        rows = [(_label(person), row) for person, row in _rows(table)]
        if any(SESSION in row for _, row in rows):
            by_session = [((person, _session(row, table)), row) for person, row in rows]
            _add(sessions, by_session, columns, table, "participant and session")
        else:
            _add(people, rows, columns, table, "participant")
    return Phenotypes(people, sessions, descriptions)


def _label(person: str) -> str:
    """Without its prefix; accents as one character, which some file systems take apart."""
    return unicodedata.normalize("NFC", person.removeprefix("sub-"))


def read_participants(path: str | Path) -> dict[str, dict[str, Any]]:
    """Columns of a BIDS ``participants.tsv`` by participant; numbers as numbers, n/a left out.

    Raises
    ------
    ValueError
        If it is no table, there is no column ``participant_id``, or someone is listed twice.
    """
    rows = list(_rows(Path(path)))
    _refuse_copies([person for person, _ in rows], Path(path), "participant")
    return {person: {k: _value(text) for k, text in row.items()} for person, row in rows}


def _tables(source: str | Path | Sequence[Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [Path(table) for table in source]
    folder = Path(source)
    participants = folder / "participants.tsv"
    tables = sorted((folder / "phenotype").glob("*.tsv"))
    return [participants, *tables] if participants.is_file() else tables


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Participant and what is known of each row: cells that are empty or n/a are left out."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"expected a tab-separated table in UTF-8, found {type(error).__name__}; "
            f"give a BIDS participants.tsv, and save {table.name} as UTF-8"
        ) from error
    if not rows or PERSON not in rows[0]:
        raise ValueError(
            f"expected a tab-separated table with a column {PERSON}, found columns "
            f"{list(rows[0]) if rows else []}; give a BIDS participants.tsv"
        )
    for row in rows:
        person = row.pop(PERSON)
        yield person, {k: v for k, v in row.items() if k and v and v.lower() not in UNKNOWN}


def _session(row: dict[str, str], table: Path) -> str:
    if SESSION not in row:
        raise ValueError(
            f"expected a {SESSION} in every row of {table.name}, found one without; complete it, "
            "or leave out the column"
        )
    return row.pop(SESSION).removeprefix("ses-")


def _add(
    known: dict[Any, dict[str, Any]],
    rows: Sequence[tuple[Any, dict[str, str]]],
    columns: Mapping[str, dict[str, Any]],
    table: Path,
    each: str,
) -> None:
    """Take in the rows of a table; what is known already must be the same."""
    _refuse_copies([key for key, _ in rows], table, each)
    different: Counter[str] = Counter()
    for key, row in rows:
        own = known.setdefault(key, {})
        values = {name: _decoded(text, columns.get(name, {})) for name, text in row.items()}
        different.update(name for name in own.keys() & values.keys() if own[name] != values[name])
        own |= values
    if different:
        name, times = different.most_common(1)[0]
        raise ValueError(
            f"expected one value of each column, found {times} of '{name}' in {table.name} that "
            "another table has differently; correct one, or rename the column"
        )


def _refuse_copies(keys: Sequence[Any], table: Path, each: str) -> None:
    copies = len(keys) - len(set(keys))
    if copies:
        listed = "one listed twice" if copies == 1 else f"{copies} listed again"
        raise ValueError(
            f"expected each {each} once, found {listed} in {table.name}; keep one row a {each}"
        )


def _read_json(file: Path) -> dict[str, dict[str, Any]]:
    """What a JSON says of each column; nothing where there is none."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        found = type(content).__name__
    except (OSError, ValueError, RecursionError) as error:
        content, found = None, type(error).__name__
    if not isinstance(content, dict):
        raise ValueError(
            f"expected facts by column in {file.name}, found {found}; write JSON in UTF-8, or "
            "remove the file"
        )
    return {name: facts for name, facts in content.items() if isinstance(facts, dict)}


def _meaning(facts: Mapping[str, Any]) -> str:
    """Description of a column with its unit."""
    text, unit = (facts.get(key) for key in ("Description", "Units"))
    text = text if isinstance(text, str) else ""
    return f"{text} ({unit})".strip() if isinstance(unit, str) else text


def _decoded(text: str, facts: Mapping[str, Any]) -> float | str:
    """A number that stands for something, by its column's ``Levels``; words stay what they are.

    Labels of levels may be text or, since BIDS 1.9, objects. Those of words (``M``: a person who
    ...) explain them rather than replace them.
    """
    value, levels = _value(text), facts.get("Levels")
    label = levels.get(text) if isinstance(levels, dict) else None
    if isinstance(label, dict):
        label = label.get("Description")
    return label if isinstance(label, str) and not isinstance(value, str) else value


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
