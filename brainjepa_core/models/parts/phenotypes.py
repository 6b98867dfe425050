"""Phenotypes that a model learns: by what constants, and how far its outputs are from them.

Shapes: B batch, Q phenotypes.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.settings import Frozen

Value = str | float


class Phenotype(Frozen):
    """A column of people's phenotypes, as a number about 0.

    All sites have to mean the same by it, so what it is scaled by is a constant of the contract and
    no figure of theirs.

    Attributes
    ----------
    column : str
    mean, sd : float, optional
        Of a number: it is learned as ``(value - mean) / sd``.
    classes : (tuple, tuple), optional
        Values of two classes, learned as -1 and 1; people of other values count as not known. Text
        counts whatever its case.
    """

    column: str = Field(min_length=1, max_length=64)
    mean: float | None = None
    sd: float | None = Field(None, gt=0)
    classes: tuple[tuple[Value, ...], tuple[Value, ...]] | None = None

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        number = self.mean is not None and self.sd is not None
        told = (self.mean, self.sd, self.classes)
        if number == (self.classes is not None) or sum(v is not None for v in told) == 2 - number:
            raise ValueError(
                f"expected mean and sd of the number '{self.column}', or two classes of it, found "
                f"{', '.join(n for n, v in vars(self).items() if n != 'column' and v) or 'none'}; "
                "write what a value is about and by how much it varies, or its classes"
            )
        if self.classes is not None:
            alike = [{_alike(value) for value in values} for values in self.classes]
            if not all(alike) or alike[0] & alike[1]:
                raise ValueError(
                    f"expected two classes of '{self.column}' with values, each in one of them, "
                    f"found {len(alike[0] & alike[1])} in both; mend classes"
                )
        return self

    def encoded(self, value: Value | None) -> float:
        """What is learned of a known value; NaN where it is not known, or of neither class."""
        if self.classes is None:
            if not isinstance(value, float):
                return math.nan
            assert self.mean is not None and self.sd is not None
            return (value - self.mean) / self.sd
        for code, values in zip((-1.0, 1.0), self.classes, strict=True):
            if value is not None and _alike(value) in {_alike(v) for v in values}:
                return code
        return math.nan


def _alike(value: Value) -> Value:
    return value.casefold() if isinstance(value, str) else float(value)


class LearnsPhenotypes(ModelShape):
    """Settings of a model that learns phenotypes.

    Attributes
    ----------
    phenotypes : tuple of Phenotype
        In the order of outputs.
    """

    phenotypes: tuple[Phenotype, ...] = Field(min_length=1, max_length=256)

    @property
    def learned_phenotypes(self) -> tuple[Phenotype, ...]:
        """All of them."""
        return self.phenotypes

    @field_validator("phenotypes")
    @classmethod
    def _each_once(cls, phenotypes: tuple[Phenotype, ...]) -> tuple[Phenotype, ...]:
        columns = [phenotype.column for phenotype in phenotypes]
        twice = next((column for column in columns if columns.count(column) > 1), None)
        if twice is not None:
            raise ValueError(f"expected each column once, found '{twice}' twice; take one out")
        return phenotypes


def squared_errors(outputs: Tensor, told: Tensor) -> Tensor:
    """Squared error of what is known, as a share of all phenotypes [B].

    Parameters
    ----------
    outputs : Tensor [B, Q]
    told : Tensor [B, Q]
        As `Phenotype.encoded` gives them; NaN where not known.
    """
    known = ~torch.isnan(told)
    away = torch.where(known, outputs - torch.nan_to_num(told), 0.0)
    return away.square().mean(1)
