"""What cohorts call things: columns and codes of the tables that they hand out, as shipped recipes.

A recipe is a YAML in ``cohorts`` beside this file: which tables, whose rows, which columns under
which names, what their codes mean, and where each is documented.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from brainjepa_core.settings import Frozen, read_settings, shipped_or_own

SHIPPED = Path(__file__).parent
Value = str | int | float


class CohortColumn(Frozen):
    """One of our columns, and how it is read from a cohort's.

    Attributes
    ----------
    source : tuple of str
        Names that the column has in the cohort's releases; none where its dictionary is not public
        and whoever has the data says it.
    flags : dict of str to str
        In the place of `source`: columns of 1 and 0, and what each 1 means; the first counts.
    codes : dict, optional
        What a value means; every other one is unknown. Text counts whatever its case.
    missing : tuple of float
        Numbers that stand for "not known".
    per : float
        What numbers are divided by: 12 makes years of months.
    documented : str
        Where column and codes are documented.
    """

    source: tuple[str, ...] = ()
    flags: dict[str, str] = {}
    codes: dict[Value, Value] | None = None
    missing: tuple[float, ...] = ()
    per: float = Field(1.0, gt=0)
    documented: str

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.source and self.flags:
            raise ValueError("expected source or flags, found both; leave one out")
        return self


class CohortTable(Frozen):
    """One of a cohort's tables.

    Attributes
    ----------
    called : str
        As the cohort calls it.
    person : tuple of str
        Names of the column of people.
    keep : dict of str to tuple
        Rows to take: those whose column has one of some values.
    first_by : str
        Of several rows of a person, that with the lowest number in this column.
    descriptions : bool
        Whether the second line describes the columns, as in tables of the NDA.
    columns : dict of str to CohortColumn
        By our name.
    """

    called: str
    person: tuple[str, ...] = Field(min_length=1)
    keep: dict[str, tuple[Value, ...]] = {}
    first_by: str = ""
    descriptions: bool = False
    columns: dict[str, CohortColumn]


class CohortRecipe(Frozen):
    """From a cohort's tables to phenotypes.

    Attributes
    ----------
    cohort : str
        What it is called.
    dictionary : str
        Where the data dictionary is, or that it is not public.
    tables : tuple of CohortTable
    """

    cohort: str
    dictionary: str
    tables: tuple[CohortTable, ...] = Field(min_length=1)


def shipped_cohorts() -> tuple[str, ...]:
    """Names of the cohorts whose recipes come with this package, sorted."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))


def load_recipe(name_or_path: str | Path) -> CohortRecipe:
    """A shipped recipe by its name, or one's own YAML.

    Raises
    ------
    ValueError
        If no shipped recipe has the name, or the file does not fit.
    """
    return read_settings(shipped_or_own(name_or_path, SHIPPED, "cohort"), CohortRecipe)
