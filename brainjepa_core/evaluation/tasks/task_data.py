"""The people of a task: who takes part, their targets and covariates, or why it cannot be done.

Errors give the task, columns and counts. Values are named only if they are words that at least
five people share: never numbers, and nothing with a digit, which may be an id or a date. Only
numbers that are known as codes for missing, such as -9999, are named as such.

Shapes: n people, C columns of covariates, K classes.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.tasks.settings import Rule, TaskData, TaskSettings, Value
from brainjepa_core.signals.people import Person
from brainjepa_core.signals.tables.missing_codes import (
    Codes,
    codes_of,
    outside_of_life,
    suspects,
)
from brainjepa_core.signals.tables.values import known_value
from brainjepa_core.signals.windows import Windows

LEAST_PEOPLE = 5  # of each class, or of a regression
Facts = dict[str, Any]


def task_data(task: TaskSettings, windows: Windows) -> TaskData:
    """Gather the people who take part in a task.

    Parameters
    ----------
    task : TaskSettings
    windows : Windows
        What is known of a person is that of their first scan (by session and run); their site is
        the name of their store's folder.

    Returns
    -------
    TaskData
        In the order of the windows' people.

    Raises
    ------
    ValueError
        If a column is not there, or has numbers that look like codes for missing (see
        `TaskSettings.missing`) or like no ages; nobody is left; there is one class only, or one
        with fewer than five people; a regression's target is text, constant, or known of fewer
        than five; a covariate is not known of everybody, or is part number and part text.
    """
    codes = codes_of(task.missing or ())
    everyone = [_facts(windows, person, codes) for person in windows.people]
    rules = [rule.column for rule in task.include]
    asked = [task.column, *task.covariates, *task.stratify, *rules]
    refuse_unknown_columns(task, asked, everyone)
    people, left_out = _included(task, everyone)
    _refuse_doubtful(task, [everyone[person] for person in people])
    targets = [everyone[person][task.column] for person in people]
    classes: tuple[str, ...] = ()
    if task.kind == "classification":
        classes, numbers = _classes(task, targets)
        people = [person for person, number in zip(people, numbers, strict=True) if number >= 0]
        left_out[f"other {task.column}"] += len(numbers) - len(people)
        target = np.array([number for number in numbers if number >= 0], np.float64)
    else:
        target = _numbers(task, targets)
    facts = tuple(everyone[person] for person in people)
    return TaskData(
        task=task,
        people=np.array(people, np.int64),
        sites=np.array([known["site"] for known in facts], np.str_),
        target=target,
        classes=classes,
        covariates=_covariates(task, facts),
        facts=facts,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _facts(windows: Windows, person: Person, codes: Codes) -> Facts:
    """What is known of a person, cleaned."""
    record = person.records[0]
    told = {**record.phenotypes, **record.qc}
    found = {name: known_value(value, codes) for name, value in told.items()}
    site = windows.stores[person.store].path.name
    return {**{name: value for name, value in found.items() if value is not None}, "site": site}


def alike(value: Value | None) -> Value | None:
    """The form by which a value is compared with those of the settings."""
    known = known_value(value)
    return known.casefold() if isinstance(known, str) else known


def refuse_unknown_columns(
    task: TaskSettings, asked: Iterable[str], everyone: Sequence[Facts], settings: str = "task"
) -> None:
    """Refuse columns, asked for by some settings, of which nothing is known of anybody."""
    columns = sorted(set().union(*everyone))
    for column in asked:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=3)
            mend = f"did you mean {' or '.join(near)}" if near else f"known are {_list(columns)}"
            raise ValueError(
                f"task '{task.name}': expected column '{column}', found it of none of "
                f"{len(everyone)} people; {mend}? Mend the {settings}, or import the scans with a "
                "participants table that has it"
            )


def _refuse_doubtful(task: TaskSettings, facts: Sequence[Facts]) -> None:
    """Refuse to learn from what may stand for "not known", or can be no age in years."""
    columns = [task.column] if task.classes is None else []
    columns += [*task.covariates, *task.stratify, *(rule.column for rule in task.include)]
    for column in dict.fromkeys([*columns, *task.subgroups]):
        values = [known[column] for known in facts if column in known]
        for code, count in suspects(values).items() if task.missing is None else ():
            raise ValueError(
                f"task '{task.name}': expected '{column}' to be known or n/a, found {code:g} of "
                f"{count} of {len(facts)} people, which looks like a code for missing; write n/a "
                f"in the participants table, or say missing: [{code:g}] in the task, or "
                "missing: [] if it is a value"
            )
        odd = outside_of_life(column, values)
        if odd:
            raise ValueError(
                f"task '{task.name}': expected ages of 0 to 120 years in '{column}', found {odd} "
                f"of {len(facts)} people outside; correct the table, or rename the column if its "
                "unit is another"
            )


def _included(task: TaskSettings, everyone: Sequence[Facts]) -> tuple[list[int], Counter[str]]:
    """Numbers of the people whom the rules let in and whose target is known; reasons of others."""
    left_out: Counter[str] = Counter()
    people = list(range(len(everyone)))
    for rule in task.include:
        values = [everyone[person].get(rule.column) for person in people]
        _refuse_bounds_of_text(task, rule, values)
        stay = [person for person, v in zip(people, values, strict=True) if _fits(rule, v)]
        left_out[f"rule on {rule.column}"] += len(people) - len(stay)
        people = stay
    stay = [person for person in people if task.column in everyone[person]]
    left_out[f"no {task.column}"] += len(people) - len(stay)
    if not stay:
        reasons = ", ".join(f"{count} by '{why}'" for why, count in left_out.items() if count)
        raise ValueError(
            f"task '{task.name}': expected people who take part, found none of {len(everyone)} "
            f"left ({reasons}); loosen include, or complete the participants table"
        )
    return stay, left_out


def _fits(rule: Rule, value: Value | None) -> bool:
    if value is None:
        return False
    if rule.one_of is not None and alike(value) not in {alike(v) for v in rule.one_of}:
        return False
    if isinstance(value, str):
        return True
    return (rule.least is None or value >= rule.least) and (rule.most is None or value <= rule.most)


def _refuse_bounds_of_text(task: TaskSettings, rule: Rule, values: Sequence[Value | None]) -> None:
    texts = sum(isinstance(value, str) for value in values)
    if texts and (rule.least is not None or rule.most is not None):
        raise ValueError(
            f"task '{task.name}': expected numbers in '{rule.column}', on which a rule sets "
            f"bounds, found text of {texts} people; use one_of, or correct the column"
        )


def _classes(task: TaskSettings, targets: Sequence[Value]) -> tuple[tuple[str, ...], list[int]]:
    """Names of the K classes, and the number of each person's; -1 where they are in none."""
    places: dict[Value | None, int] = {}
    if task.classes is None:
        ordered = sorted(set(targets), key=lambda value: (isinstance(value, str), value))
        first: dict[Value | None, Value] = {}
        for value in ordered:
            first.setdefault(alike(value), value)  # 'm' is 'M'
        names = tuple(v if isinstance(v, str) else f"{v:.15g}" for v in first.values())
        places = {value: number for number, value in enumerate(first)}
    else:
        names = tuple(task.classes)
        for number, values in enumerate(task.classes.values()):
            places |= {alike(value): number for value in values}
    numbers = [places.get(alike(value), -1) for value in targets]
    _refuse_few(task, names, targets, numbers)
    return names, numbers


def _refuse_few(
    task: TaskSettings, names: tuple[str, ...], targets: Sequence[Value], numbers: Sequence[int]
) -> None:
    """Refuse classes that cannot be told apart: too few of them, or of their people."""
    counts = [numbers.count(number) for number in range(len(names))]
    present = sum(count > 0 for count in counts)
    where = f"task '{task.name}': expected"
    if not present:
        listed = [str(value) for values in (task.classes or {}).values() for value in values]
        raise ValueError(
            f"{where} values of '{task.column}' that its classes list ({_list(listed)}), found "
            f"none among {len(targets)} people: {_tally(targets)}; add the values to classes"
        )
    if task.classes is None:
        found = _tally(targets)
    else:
        found = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True))
    if present == 1:
        raise ValueError(
            f"{where} at least two classes of '{task.column}', found one among {sum(counts)} "
            f"people: {found}; add sites that have the others, or check classes and include"
        )
    if min(counts) < LEAST_PEOPLE:
        numeric = all(isinstance(value, float) for value in targets)
        mend = "make it kind: regression" if numeric else "put rare values into one class"
        raise ValueError(
            f"{where} at least {LEAST_PEOPLE} people of each class of '{task.column}', found "
            f"{sum(n < LEAST_PEOPLE for n in counts)} of {len(counts)} classes with fewer "
            f"({found}); {mend}, leave values out with classes, or add people"
        )


def _numbers(task: TaskSettings, targets: Sequence[Value]) -> Float64:
    """Targets of a regression."""
    where = f"task '{task.name}': expected"
    texts = [value for value in targets if isinstance(value, str)]
    if texts:
        raise ValueError(
            f"{where} numbers in '{task.column}' for a regression, found text of {len(texts)} of "
            f"{len(targets)} people: {_tally(texts)}; make it kind: classification, or correct "
            "the column"
        )
    if len(targets) < LEAST_PEOPLE:
        raise ValueError(
            f"{where} at least {LEAST_PEOPLE} people whose '{task.column}' is known, found "
            f"{len(targets)}; add people, or loosen include"
        )
    if len(set(targets)) == 1:
        raise ValueError(
            f"{where} a target that varies, found the same '{task.column}' of all {len(targets)} "
            "people; choose another column, or loosen include"
        )
    return np.array(targets, np.float64)


def _covariates(task: TaskSettings, facts: Sequence[Facts]) -> Float64:
    """Columns of all covariates, [n, C]."""
    columns: list[Float64] = []
    for name in task.covariates:
        values = [known[name] for known in facts if name in known]
        missing, texts = len(facts) - len(values), sum(isinstance(v, str) for v in values)
        if missing:
            raise ValueError(
                f"task '{task.name}': expected covariate '{name}' of everybody, found {missing} of "
                f"{len(facts)} people without it; complete the participants table, or leave them "
                f"out with include: [{{column: {name}}}]"
            )
        if 0 < texts < len(values):
            raise ValueError(
                f"task '{task.name}': expected covariate '{name}' to be all numbers or all text, "
                f"found text of {texts} of {len(values)} people; correct the column"
            )
        if texts:
            columns += [
                np.array([v == level for v in values], float) for level in sorted({*values})
            ]
        else:
            columns.append(np.array(values, np.float64))
    return np.stack(columns, axis=1) if columns else np.empty((len(facts), 0))


def _tally(values: Iterable[Value]) -> str:
    """How many people have which value, if the values may be named."""
    counts = Counter(values)
    named = {
        str(value): count
        for value, count in counts.most_common(8)
        if count >= LEAST_PEOPLE and not any(character.isdigit() for character in str(value))
    }
    parts = [f"'{value}' {count}" for value, count in named.items()]
    unnamed = len(counts) - len(named)
    if unnamed:
        people = counts.total() - sum(named.values())
        parts.append(f"{'other' if named else 'not shown'} {people} ({unnamed} different)")
    return ", ".join(parts)


def _list(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
