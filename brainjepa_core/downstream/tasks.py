"""What is to be told of people: a column of their phenotypes, who takes part, what is adjusted for.

Shapes: n people, C columns of covariates, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
Value = str | float


class Rule(BaseModel):
    """Who takes part: people whose column has one of some values, or lies within bounds.

    Attributes
    ----------
    column : str
    one_of : tuple, optional
    least, most : float, optional
        Inclusive.
    """

    model_config = FROZEN

    column: str
    one_of: tuple[Value, ...] | None = None
    least: float | None = None
    most: float | None = None


class TaskSettings(BaseModel):
    """A task, from a YAML file.

    Attributes
    ----------
    name : str
    column : str
        Phenotype that is predicted.
    kind : {"classification", "regression"}
    classes : dict of str to tuple, optional
        Values of the column that each class stands for, in the order of classes; people of other
        values do not take part. By default every value is a class, sorted.
    covariates : tuple of str
        Columns whose linear effect is taken out of features and, for regression, of the target;
        fitted on the training part. ``site`` is the person's site.
    stratify : tuple of str
        Columns that splits keep balanced beside the class (or the quartile of the target);
        ``site`` may be one.
    include : tuple of Rule
    within_site : bool
        Sites differ in the target: scores are also given within sites.
    subgroups : tuple of str
        Columns by which performance is broken down; ``age`` is taken in bands.
    """

    model_config = FROZEN

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    column: str
    kind: Literal["classification", "regression"]
    classes: dict[str, tuple[Value, ...]] | None = None
    covariates: tuple[str, ...] = ()
    stratify: tuple[str, ...] = ()
    include: tuple[Rule, ...] = ()
    within_site: bool = False
    subgroups: tuple[str, ...] = ("site", "sex", "age", "ancestry")


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
        Numbers as they are, text and sites as indicators.
    facts : tuple of dict
        Phenotypes, and numbers of quality such as ``mean_fd``.
    """

    task: TaskSettings
    people: NDArray[np.int64]
    sites: NDArray[np.str_]
    target: NDArray[np.float64]
    classes: tuple[str, ...]
    covariates: NDArray[np.float64]
    facts: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.people)
