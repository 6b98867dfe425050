"""What is to be told of people: a column of their phenotypes, who takes part, what is adjusted for.

Shapes: n people, C columns of covariates, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainjepa_core.arrays import Float64
from brainjepa_core.settings import Frozen, read_settings, shipped_or_own

SHIPPED = Path(__file__).parent / "task_files"
Value = str | float


class Rule(Frozen):
    """Who takes part: people whose column has one of some values, or lies within bounds.

    A column alone asks that it is known. Text counts whatever its case.

    Attributes
    ----------
    column : str
        Phenotype that the rule is about.
    one_of : tuple, optional
        Values of which a person has one.
    least, most : float, optional
        Inclusive.
    """

    column: str
    one_of: tuple[Value, ...] | None = None
    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _somebody_fits(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(
                f"expected least up to most, found least {self.least:g} and most {self.most:g}; "
                "swap them"
            )
        return self


class TaskSettings(Frozen):
    """A task, from a YAML file.

    Attributes
    ----------
    name : str
        Names the task in results and messages.
    column : str
        Phenotype that is predicted.
    kind : {"classification", "regression"}
        Classes, or a number.
    classes : dict of str to tuple, optional
        Values of the column that each class stands for, in the order of classes: of two, the
        second is the one that an AUC is for. Text counts whatever its case; people of other values
        do not take part. By default every value is a class, sorted.
    covariates : tuple of str
        Columns whose linear effect is taken out of features and, for regression, of the target;
        fitted on the training part. ``site`` is the person's site.
    stratify : tuple of str
        Columns that splits keep balanced beside the class (or the quartile of the target);
        ``site`` may be one.
    include : tuple of Rule
        Who takes part: those whom every rule fits; all by default.
    missing : tuple of float or str, optional
        What stands for "not known" in every column beside n/a and the like: ``[-9999]``. Where it
        is not said, numbers that look like such codes are refused; where it is, believed.
    within_site : bool
        Sites differ in the target: scores are also given within sites, and judged there. The AUC of
        classes is given within sites wherever there are several.
    subgroups : tuple of str
        Columns by which performance is broken down; ``age`` is taken in bands.
    unit : str
        Of the column's numbers, such as years (which ``age`` is in if nothing else is said).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    column: str
    kind: Literal["classification", "regression"]
    classes: dict[str, tuple[Value, ...]] | None = None
    covariates: tuple[str, ...] = ()
    stratify: tuple[str, ...] = ()
    include: tuple[Rule, ...] = ()
    missing: tuple[Value, ...] | None = None
    within_site: bool = False
    subgroups: tuple[str, ...] = ("site", "sex", "age", "ancestry")
    unit: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.column in self.covariates:
            raise ValueError(
                f"expected covariates beside the target, found '{self.column}' as both; "
                "take it out of covariates"
            )
        if self.classes is None:
            return self
        if self.kind == "regression":
            raise ValueError(
                f"expected numbers without classes for a regression, found {len(self.classes)} "
                "classes; remove classes, or make it kind: classification"
            )
        values = [
            v.casefold() if isinstance(v, str) else v for c in self.classes.values() for v in c
        ]
        if (
            len(self.classes) < 2
            or not all(self.classes.values())
            or len(set(values)) < len(values)
        ):
            raise ValueError(
                f"expected at least two classes with values, each in one class, found "
                f"{len(self.classes)} classes and {len(set(values))} values, "
                f"{len(values) - len(set(values))} of them repeated; mend classes"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the task reads, the one it predicts first."""
        rules = (rule.column for rule in self.include)
        asked = (self.column, *self.covariates, *self.stratify, *rules, *self.subgroups)
        return tuple(dict.fromkeys(asked))

    @property
    def target_unit(self) -> str:
        """What errors of predicted numbers are told in; empty for classes."""
        if self.kind == "classification":
            return ""
        return self.unit or ("years" if self.column == "age" else f"units of {self.column}")


def shipped_tasks() -> tuple[str, ...]:
    """Names of the tasks that come with this package, sorted."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))


def load_task(name_or_path: str | Path) -> TaskSettings:
    """Read a task: a shipped one by its name, or any from a YAML file.

    Parameters
    ----------
    name_or_path : str or path
        Such as ``age``, or a path that ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ValueError
        If no shipped task has the name, or the file does not fit; every wrong field is listed.
    """
    return read_settings(shipped_or_own(name_or_path, SHIPPED, "task"), TaskSettings)


@dataclass(frozen=True)
class TaskData:
    """The people who take part in a task. A person is one row, however many sessions there are.

    Attributes
    ----------
    task : TaskSettings
    people : ndarray of int64 [n]
        Their numbers in `brainjepa_core.signals.windows.Windows`.
    sites : ndarray of str [n]
    target : ndarray of float64 [n]
        Value, or number of the class, 0 .. K - 1.
    classes : tuple of str
        K names; empty for regression.
    covariates : ndarray of float64 [n, C]
        Numbers as they are, text and sites as indicators of every value: C may exceed the rank,
        so fit them by least squares of minimum norm.
    facts : tuple of dict
        Phenotypes, numbers of quality such as ``mean_fd``, and ``site``: numbers and texts, and
        what is not known is not there.
    left_out : dict of str to int
        How many people do not take part, by reason.
    """

    task: TaskSettings
    people: NDArray[np.int64]
    sites: NDArray[np.str_]
    target: Float64
    classes: tuple[str, ...]
    covariates: Float64
    facts: tuple[dict[str, Any], ...]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.people)
