"""What is known of people: BIDS ``participants.tsv`` and the tables of a ``phenotype`` folder.

No error names a person: they say which table, which column or line, and how many.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_core.problems import counted, plainly, value_in_words
from brainjepa_core.signals.problems import is_there
from brainjepa_core.signals.tables.cells import number_or_text
from brainjepa_core.signals.tables.doubts import doubts
from brainjepa_core.signals.tables.labels import (
    join_labels,
    person_label,
    session_label,
    visit_of,
)
from brainjepa_core.signals.tables.missing_codes import CodesByColumn
from brainjepa_core.signals.tables.rows import Row, read_rows

PERSON, SESSION = "participant_id", "session_id"
TOLD_FD = "mean_fd"  # column of the mean displacement in mm
Scan = tuple[str, str]  # subject and session


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
    notes : tuple of str
        What a data manager should know of the tables; names nobody.
    """

    people: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    sessions: Mapping[Scan, dict[str, Any]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def joined(self, scans: Iterable[Scan]) -> JoinedPhenotypes:
        """Rows of the people of some scans, found by their labels (`labels.join_labels`).

        Parameters
        ----------
        scans : iterable of (str, str)
            Subject and session of each, with or without ``sub-`` and ``ses-``.
        """
        theirs, ours = defaultdict(set), defaultdict(set)
        for person, session in self.sessions:
            theirs[person].add(session)
        for person, session in scans:
            ours[person_label(person)].add(session_label(session))
        labels = join_labels(ours, {*self.people, *theirs})
        sessions = {
            (person, ours_is): (label, theirs_is)
            for person, label in labels.items()
            for ours_is, theirs_is in join_labels(ours[person], theirs[label]).items()
        }
        told = {person for person, label in labels.items() if label in self.people}
        told |= {person for person, _ in sessions}
        found = {labels[person] for person in told}
        visits = self._of_visits((person, session) for person in ours for session in ours[person])
        return JoinedPhenotypes(
            phenotypes=self,
            labels=labels,
            session_labels=sessions,
            visit_labels=visits,
            without_row=tuple(sorted(ours.keys() - told - {person for person, _ in visits})),
            without_scan=tuple(sorted({*self.people, *theirs} - found - {*visits.values()})),
        )

    def _of_visits(self, scans: Iterable[Scan]) -> dict[Scan, str]:
        """Labels of people that name one visit each, as HCP's folders do, by person and session."""
        named: dict[Scan, list[str]] = defaultdict(list)
        for label in self.people:
            if visit_of(label) != (label, ""):
                named[visit_of(label)].append(label)
        return {scan: named[scan][0] for scan in scans if len(named.get(scan, ())) == 1}

    def of(self, subject: str, session: str = "") -> dict[str, Any]:
        """Columns of one scan; see `JoinedPhenotypes.of`."""
        return self.joined([(subject, session)]).of(subject, session)


@dataclass(frozen=True)
class JoinedPhenotypes:
    """Phenotypes of the people of some scans.

    Attributes
    ----------
    phenotypes : Phenotypes
    labels : mapping of str to str
        The tables' label of each person who has one.
    session_labels : mapping of (str, str) to (str, str)
        The tables' labels of each person and session that have them.
    visit_labels : mapping of (str, str) to str
        The tables' label of each person and session that one of HCP's names of a visit means.
    without_row, without_scan : tuple of str
        People of the scans whom no table knows; people of the tables who have no scan.
    """

    phenotypes: Phenotypes
    labels: Mapping[str, str]
    session_labels: Mapping[Scan, Scan]
    visit_labels: Mapping[Scan, str]
    without_row: tuple[str, ...]
    without_scan: tuple[str, ...]

    def of(self, subject: str, session: str = "") -> dict[str, Any]:
        """Columns of a scan; a visit's or session's own value replaces the person's.

        Parameters
        ----------
        subject, session : str
            With or without ``sub-`` and ``ses-``.
        """
        person = person_label(subject)
        ours = (person, session_label(session))
        known = self.phenotypes.people.get(self.labels.get(person, ""), {})
        visit = self.phenotypes.people.get(self.visit_labels.get(ours, ""), {})
        theirs = self.session_labels.get(ours, ("", ""))
        return {**known, **visit, **self.phenotypes.sessions.get(theirs, {})}

    def notes(self) -> list[str]:
        """Sentences for the data manager, with an example of each side; they stay at the site."""
        notes = list(self.phenotypes.notes)
        if not self.phenotypes.people and not self.phenotypes.sessions:
            return notes
        if self.without_row:
            notes.append(
                f"{counted(len(self.without_row), 'person has', 'people have')} no row of "
                "phenotypes, such as "
                f"'{self.without_row[0]}'"
            )
        if self.without_scan:
            notes.append(
                f"{counted(len(self.without_scan), 'person', 'people')} of the tables "
                f"{'has' if len(self.without_scan) == 1 else 'have'} no scan, such as "
                f"'{self.without_scan[0]}'"
            )
        return notes


def told_displacement(row: Mapping[str, Any]) -> float | None:
    """Mean framewise displacement in mm of a scan, if its row of phenotypes tells it.

    A negative one is a code for missing.
    """
    told = row.get(TOLD_FD)
    return told if isinstance(told, float) and told >= 0 else None


def read_phenotypes(
    source: str | Path | Sequence[str | Path], missing: Iterable[str | float] = ()
) -> Phenotypes:
    """Read tables of people, with their JSON (``Levels``, ``Units``, ``Description``).

    Parameters
    ----------
    source : path or sequence of paths
        Tables; or a BIDS folder, of which ``participants.tsv`` and ``phenotype/*.tsv`` are taken.
    missing : iterable
        Numbers and words that stand for "not known" in every column, beside the usual ones and
        those that a column's JSON tells.

    Raises
    ------
    ValueError
        If a table cannot be read, lists someone twice, or contradicts another.
    """
    people: dict[str, dict[str, Any]] = {}
    sessions: dict[Scan, dict[str, Any]] = {}
    descriptions: dict[str, str] = {}
    notes: list[str] = []
    for table in _tables(source):
        columns = _read_json(table.with_suffix(".json"))
        descriptions |= {name: text for name, facts in columns.items() if (text := _meaning(facts))}
        codes = CodesByColumn(missing, columns)
        rows = [(_person(row, table), row.known(PERSON, codes)) for row in read_rows(table, PERSON)]
        notes += doubts(table.name, [row for _, row in rows], columns)
        if any(SESSION in row for _, row in rows):
            by_session = [((person, _session(row, table)), row) for person, row in rows]
            _add(sessions, by_session, columns, table, "participant and session")
        else:
            _add(people, rows, columns, table, "participant")
    return Phenotypes(people, sessions, descriptions, tuple(notes))


def _tables(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [Path(table) for table in source]
    folder = Path(source)
    participants = folder / "participants.tsv"
    more = folder / "phenotype"
    tables = sorted(more.glob("*.tsv")) if is_there(more) else []
    return [participants, *tables] if is_there(participants) else tables


def _person(row: Row, table: Path) -> str:
    person = person_label(row.cells[PERSON])
    if not person:
        raise ValueError(
            f"expected a {PERSON} in every row, found none in line {row.line} of {table.name}; "
            "complete it, or remove the row"
        )
    return person


def _session(row: dict[str, str], table: Path) -> str:
    if SESSION not in row:
        raise ValueError(
            f"expected a {SESSION} in every row of {table.name}, found one without; complete it, "
            "or leave out the column"
        )
    return session_label(row.pop(SESSION))


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
    if not is_there(file):
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        found = value_in_words(content)
    except (OSError, ValueError, RecursionError) as error:
        content, found = None, plainly(error)
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
    value, levels = number_or_text(text), facts.get("Levels")
    label = levels.get(text) if isinstance(levels, dict) else None
    if isinstance(label, dict):
        label = label.get("Description")
    return label if isinstance(label, str) and not isinstance(value, str) else value
