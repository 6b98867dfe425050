"""Who trains, who chooses, who is tested: splits of the people of a task.

Shapes: n people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Index = NDArray[np.int64]


class ProtocolSettings(BaseModel):
    """How people are split.

    Attributes
    ----------
    kind : {"holdout", "kfold", "leave_one_site_out", "transfer", "personalised"}
        Repeated stratified hold-out (published: 6:2:2, 5 seeds); k folds; each site tested once by
        the others; trained on some sites and tested on the others; within each site, from a model
        that all share.
    seeds : int
        Repetitions, with seeds 0, 1, ... (``leave_one_site_out`` and ``transfer``: other
        validation parts, the same test part).
    folds : int
        Of ``kfold`` and ``personalised``.
    train, validation : float
        Shares of ``holdout``; the rest is tested. The validation share is also taken from the
        training part of the other kinds.
    train_sites, test_sites : tuple of str
        Of ``transfer``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["holdout", "kfold", "leave_one_site_out", "transfer", "personalised"] = "holdout"
    seeds: int = Field(5, ge=1)
    folds: int = Field(5, ge=2)
    train: float = Field(0.6, gt=0, lt=1)
    validation: float = Field(0.2, gt=0, lt=1)
    train_sites: tuple[str, ...] = ()
    test_sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Rows of a `TaskData` by what they are for; no row is in two of them.

    Attributes
    ----------
    name : str
        Such as ``seed 0``, ``seed 0 fold 3`` or ``without NYU``.
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
