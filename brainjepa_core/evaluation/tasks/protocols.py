"""Who trains, who chooses, who is tested: splits of the people of a task.

People are balanced over parts by class, or by quartile of a number, and by the task's
`stratify` columns as far as people suffice (see `brainjepa_core.evaluation.tasks.strata`).

Brain-JEPA (arXiv 2409.19407) was evaluated on 6:2:2 splits with five seeds. Who was in which part
is not published: the default here has the same proportions and number of seeds, not its people.

Shapes: n people.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainjepa_core.evaluation.splits import cutter
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.tasks.strata import part, smallest_group, strata
from brainjepa_core.evaluation.tasks.task_data import (
    LEAST_PEOPLE,
    alike,
    refuse_unknown_columns,
)
from brainjepa_core.settings import Frozen

Index = NDArray[np.int64]
USUAL: dict[str, dict[str, Any]] = {
    "leave_one_site_out": {"seeds": 1},  # other seeds only choose other people to stop by
    "transfer": {"seeds": 1},
    "column": {"seeds": 1},
    "brainmarks": {"seeds": 100, "train": 0.7, "validation": 0.15},  # main_logistic of Brainmarks
}
PARTS = ("train", "validation", "test")


class ProtocolSettings(Frozen):
    """How people are split.

    Attributes
    ----------
    kind : {"holdout", "kfold", "leave_one_site_out", "transfer", "personalised", "brainmarks", \
            "column"}
        Repeated stratified hold-out (published: 6:2:2, 5 seeds); k folds; each site tested once by
        the others; trained on some sites and tested on the others; within each site, from a model
        that all share; random splits of Brainmarks (70:15:15, 100 seeds), balanced by class alone;
        the one split that a column tells.
    seeds : int
        Repetitions, with seeds 0, 1, ... (``leave_one_site_out`` and ``transfer``: other
        validation parts, the same test part). ``column`` has one.
    folds : int
        Of ``kfold`` and ``personalised``.
    train, validation : float
        Shares of ``holdout``; the rest is tested. The validation share is also taken from the
        training part of the other kinds.
    train_sites, test_sites : tuple of str
        Of ``transfer``; of one that is left empty, all sites that are not in the other.
    split_column : str
        Of ``column``: the phenotype that says ``train``, ``validation`` or ``test``, in any case;
        whoever has none of these is in no part.
    """

    kind: Literal[
        "holdout",
        "kfold",
        "leave_one_site_out",
        "transfer",
        "personalised",
        "brainmarks",
        "column",
    ] = "holdout"
    seeds: int = Field(5, ge=1)
    folds: int = Field(5, ge=2)
    train: float = Field(0.6, gt=0, lt=1)
    validation: float = Field(0.2, gt=0, lt=1)
    train_sites: tuple[str, ...] = ()
    test_sites: tuple[str, ...] = ()
    split_column: str = ""

    @model_validator(mode="before")
    @classmethod
    def _usual_of_kind(cls, told: Any) -> Any:
        """What a kind has unless something else is said."""
        return {**USUAL.get(str(told.get("kind")), {}), **told} if isinstance(told, dict) else told

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.train + self.validation > 1 - 1e-9:
            raise ValueError(
                f"expected shares that leave some to test, found train {self.train:g} + validation "
                f"{self.validation:g}; published are 0.6 and 0.2"
            )
        both = set(self.train_sites) & set(self.test_sites)
        if both or (self.kind == "transfer" and not (self.train_sites or self.test_sites)):
            raise ValueError(
                f"expected train_sites or test_sites for transfer, and no site in both, found "
                f"{len(self.train_sites)}, {len(self.test_sites)} and {len(both)} in both; name "
                "the sites of one of them"
            )
        if (self.kind == "column") != bool(self.split_column):
            raise ValueError(
                "expected split_column with kind: column and with no other, found "
                f"kind: {self.kind} and split_column '{self.split_column}'; name the phenotype "
                "that says train, validation or test, or leave it out"
            )
        if self.kind == "column" and self.seeds > 1:
            raise ValueError(
                f"expected seeds: 1 with kind: column, which tells one split, found {self.seeds}; "
                "leave seeds out, or use holdout"
            )
        return self


@dataclass(frozen=True)
class Split:
    """Rows of a `TaskData` by what they are for; no row is in two of them.

    Attributes
    ----------
    name : str
        ``seed 0``, ``seed 0 fold 3``, ``without NYU``, ``to NYU, USM`` or ``NYU fold 2``: unique
        within a repetition.
    repetition : int
        Splits of one repetition test different people; together they make one figure.
    train, validation, test : ndarray of int64
        Methods that need no validation train on both.
    """

    name: str
    repetition: int
    train: Index
    validation: Index
    test: Index

    def facts(self) -> list[Any]:
        """All of it in plain values, for `brainjepa_core.origin`."""
        parts = (self.train, self.validation, self.test)
        return [self.name, self.repetition, *(rows.tolist() for rows in parts)]


def splits_of(protocol: ProtocolSettings, data: TaskData) -> list[Split]:
    """All splits of a protocol: a function of its seeds and of the people of the task.

    Parameters
    ----------
    protocol : ProtocolSettings
    data : TaskData

    Returns
    -------
    list of Split
        Repetition after repetition. Rows of each part ascend. ``holdout`` and ``transfer`` test
        some people, ``kfold`` and ``leave_one_site_out`` everybody once a repetition: also sites
        with one class only, whose people count in pooled figures. ``personalised`` tests
        everybody at sites with at least `folds` and five people of each class (for regression: at
        all); the others have no split, see `untested_sites`.

    Raises
    ------
    ValueError
        If sites are unknown or too few, a class has fewer people than there are folds, or a
        training part would lack a class.
    """
    make = {
        "holdout": _holdout,
        "kfold": _kfold,
        "leave_one_site_out": _leave_one_site_out,
        "transfer": _transfer,
        "personalised": _personalised,
        "brainmarks": _brainmarks,
        "column": _column,
    }[protocol.kind]
    splits = [split for seed in range(protocol.seeds) for split in make(protocol, data, seed)]
    for split in splits:
        few, group = smallest_group(data, split.train)
        if not few:
            raise ValueError(
                f"task '{data.task.name}': expected every class in each training part, found none "
                f"{group} among the {len(split.train)} people of '{split.name}'; raise the train "
                "share, add people, or leave that class out of the task"
            )
    return splits


def untested_sites(splits: list[Split], data: TaskData) -> tuple[str, ...]:
    """Sites nobody of which is tested in any of the splits, sorted."""
    tested = {site for split in splits for site in data.sites[split.test]}
    return tuple(sorted({str(site) for site in data.sites} - tested))


def _holdout(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    everyone = np.arange(len(data))
    share = 1 - protocol.train - protocol.validation
    learn, test = part(data, everyone, share, seed)
    share = protocol.validation / (protocol.train + protocol.validation)
    train, validation = part(data, learn, share, seed)
    yield Split(f"seed {seed}", seed, train, validation, test)


def _kfold(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    everyone = np.arange(len(data))
    few, group = smallest_group(data, everyone)
    if few < protocol.folds:
        raise ValueError(
            f"task '{data.task.name}': expected at least as many people of each class as folds, "
            f"found {few} {group} for {protocol.folds} folds; use at most {few}, or holdout"
        )
    yield from _folds(protocol, data, everyone, seed, f"seed {seed}")


def _leave_one_site_out(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    sites = _sites(data)
    if len(sites) < 2:
        raise ValueError(
            f"task '{data.task.name}': expected at least 2 sites with people who take part to "
            f"leave one out, found {len(sites)}; add sites, or use kfold"
        )
    for site in sites:
        learn, test = np.flatnonzero(data.sites != site), np.flatnonzero(data.sites == site)
        train, validation = part(data, learn, protocol.validation, seed)
        yield Split(f"without {site}", seed, train, validation, test)


def _transfer(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    sites = _sites(data)
    for site in (*protocol.train_sites, *protocol.test_sites):
        if site not in sites:
            near = difflib.get_close_matches(site, sites, n=1)
            raise ValueError(
                f"task '{data.task.name}': expected sites of {', '.join(sites)}, found '{site}'; "
                f"{f'did you mean {near[0]}?' if near else 'nobody there takes part'}"
            )
    from_sites = protocol.train_sites or tuple(s for s in sites if s not in protocol.test_sites)
    to_sites = protocol.test_sites or tuple(s for s in sites if s not in protocol.train_sites)
    if not from_sites or not to_sites:
        raise ValueError(
            f"task '{data.task.name}': expected sites to train on and others to test, found all "
            f"{len(sites)} on one side; name fewer, or use leave_one_site_out"
        )
    learn = np.flatnonzero(np.isin(data.sites, from_sites))
    train, validation = part(data, learn, protocol.validation, seed)
    test = np.flatnonzero(np.isin(data.sites, to_sites))
    yield Split(f"to {', '.join(to_sites)}", seed, train, validation, test)


def _personalised(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    least = max(protocol.folds, LEAST_PEOPLE)
    members = {site: np.flatnonzero(data.sites == site) for site in _sites(data)}
    smallest = {site: smallest_group(data, rows)[0] for site, rows in members.items()}
    able = [site for site, few in smallest.items() if few >= least]
    if not able:
        raise ValueError(
            f"task '{data.task.name}': expected a site with at least {least} people of each class "
            f"for {protocol.folds} folds of its own, found at most {max(smallest.values())} at any "
            f"of {len(smallest)} sites; use fewer folds, or a protocol across sites"
        )
    for site in able:
        yield from _folds(protocol, data, members[site], seed, site)


def _brainmarks(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    """As `_holdout`, balanced by class alone: sites and ages of a part are as they fall."""
    plain = replace(data, task=data.task.model_copy(update={"stratify": ()}))
    yield from _holdout(protocol, plain, seed)


def _column(protocol: ProtocolSettings, data: TaskData, seed: int) -> Iterator[Split]:
    column = protocol.split_column
    refuse_unknown_columns(data.task, [column], data.facts, "protocol")
    told = np.array([str(alike(facts.get(column))) for facts in data.facts])
    parts = {name: np.flatnonzero(told == name) for name in PARTS}
    empty = [name for name, rows in parts.items() if not len(rows)]
    if empty:
        raise ValueError(
            f"task '{data.task.name}': expected people of train, validation and test in column "
            f"'{column}', found nobody of {' and '.join(empty)}; complete the "
            "participants table"
        )
    yield Split(column, seed, parts["train"], parts["validation"], parts["test"])


def _folds(
    protocol: ProtocolSettings, data: TaskData, rows: Index, seed: int, name: str
) -> Iterator[Split]:
    """Folds of some rows, each tested by what the others learn."""
    balanced = strata(data, rows, protocol.folds)
    parts = cutter(protocol.folds, seed).split(rows, balanced)
    for number, (learn, test) in enumerate(parts, start=1):
        train, validation = part(data, rows[learn], protocol.validation, seed)
        yield Split(f"{name} fold {number}", seed, train, validation, rows[test])


def _sites(data: TaskData) -> tuple[str, ...]:
    return tuple(sorted({str(site) for site in data.sites}))


def require_classes(data: TaskData, training: Index) -> None:
    """Refuse training rows of one class.

    Raises
    ------
    ValueError
        Naming the task and its counts.
    """
    target = data.target[training].astype(np.int64)
    if len(np.unique(target)) < 2:
        counts = np.bincount(target, minlength=len(data.classes))
        told = ", ".join(f"{n} {name}" for n, name in zip(counts, data.classes, strict=True))
        raise ValueError(
            f"task '{data.task.name}': expected training people of at least two classes, found "
            f"{told}; choose another protocol, or stratify by the class"
        )
