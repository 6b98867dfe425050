"""What an evaluation leaves: predictions, rows of figures, comparisons and gaps, and their files.

Everything in the files is plain JSON or TSV; an undefined number is null, in TSV ``n/a``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.files import atomic_path

RESULTS, SUBGROUPS, COMPARISONS, GAPS = "results", "subgroups", "comparisons", "gaps"
OVER_SITES = "over_sites"
TABLES = (RESULTS, SUBGROUPS, COMPARISONS, GAPS, OVER_SITES)

# A number, or NaN where there is none; infinities are none.
Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    AfterValidator(lambda value: value if math.isfinite(value) else math.nan),
]
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Predictions:
    """What a method predicted of the tested part of every split.

    Attributes
    ----------
    model : str
        Its name in the table.
    splits : list of Split
    values : list of ndarray
        Of each split, what a method's ``predict`` returns: [t] or [t, K].
    """

    model: str
    splits: list[Split]
    values: list[Float64]


@checked_dataclass(frozen=True, config=STRICT)
class Row:
    """A figure of a model.

    Attributes
    ----------
    model, task, protocol, metric : str
    mean : float
        Over repetitions, each scored once on the pooled predictions of its splits.
    sd : float
        Over repetitions; over splits where there is one repetition.
    low, high : float
        95 % bootstrap interval over people.
    n : int
        Tested people.
    group : str
        ``sex=F``; empty for all people.
    unit : str
        Of mean, sd, low and high; empty where they have none.
    """

    model: str
    task: str
    protocol: str
    metric: str
    mean: Number
    sd: Number
    low: Number
    high: Number
    n: int
    group: str = ""
    unit: str = ""


@checked_dataclass(frozen=True, config=STRICT)
class Comparison:
    """A model less another one, on the same people.

    Attributes
    ----------
    model, against, task, protocol, metric : str
    difference : float
        ``model`` less ``against``; of errors (mse, mae) less is better.
    low, high : float
        95 % interval of the paired bootstrap over people.
    p, p_holm : float
        Two-sided, before and after Holm's correction over all models against ``against``.
    p_repeated : float
        Of the corrected resampled t-test over repetitions, uncorrected for the number of models;
        NaN with one repetition, or where repetitions share what they test.
    unit : str
        Of difference, low and high; empty where they have none.
    """

    model: str
    against: str
    task: str
    protocol: str
    metric: str
    difference: Number
    low: Number
    high: Number
    p: Number
    p_holm: Number
    p_repeated: Number = math.nan
    unit: str = ""


@checked_dataclass(frozen=True, config=STRICT)
class Gap:
    """How much a model's figure differs between groups of people.

    Attributes
    ----------
    model, task, protocol, metric : str
    column : str
        Such as ``sex``.
    best, worst : str
        The groups.
    gap : float
        Between the two, 0 or more.
    low, high : float
        95 % bootstrap interval of the difference of these two groups.
    chance : float
        Mean gap between groups of the same sizes that are drawn at random.
    p : float
        Share of such random groupings with a gap as large.
    unit : str
        Of gap, low, high and chance; empty where they have none.
    """

    model: str
    task: str
    protocol: str
    metric: str
    column: str
    best: str
    worst: str
    gap: Number
    low: Number
    high: Number
    chance: Number
    p: Number
    unit: str = ""


@checked_dataclass(frozen=True, config=STRICT)
class OverSites:
    """A figure, or a difference from another model, with its interval over sites.

    Attributes
    ----------
    model, task, protocol, metric : str
    value : float
        The figure of `Row`, or the difference of `Comparison` less `against`.
    low, high : float
        95 % bootstrap interval over sites, each drawn with all its tested people.
    sites : int
        Tested sites; of few the interval is too narrow.
    against : str
        Empty where the value is no difference.
    unit : str
    """

    model: str
    task: str
    protocol: str
    metric: str
    value: Number
    low: Number
    high: Number
    sites: int
    against: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Results:
    """Everything that is told of some tasks under some protocols; sums of results are results.

    Attributes
    ----------
    rows : tuple of Row
        Of all people.
    subgroups : tuple of Row
        With ``group``; NaN where there are too few people.
    comparisons : tuple of Comparison
    gaps : tuple of Gap
    over_sites : tuple of OverSites
        Where several sites are tested.
    yardsticks : tuple of Row
        Figures of the same people asked other things: with few labels, of short scans.
    yardstick_comparisons : tuple of Comparison
    """

    rows: tuple[Row, ...] = ()
    subgroups: tuple[Row, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    gaps: tuple[Gap, ...] = ()
    over_sites: tuple[OverSites, ...] = ()
    yardsticks: tuple[Row, ...] = ()
    yardstick_comparisons: tuple[Comparison, ...] = ()

    def __add__(self, other: Results) -> Results:
        return Results(
            self.rows + other.rows,
            self.subgroups + other.subgroups,
            self.comparisons + other.comparisons,
            self.gaps + other.gaps,
            self.over_sites + other.over_sites,
            self.yardsticks + other.yardsticks,
            self.yardstick_comparisons + other.yardstick_comparisons,
        )


def write_results(folder: str | Path, results: Results) -> Path:
    """Write results, subgroups, comparisons, gaps and over_sites, each as JSON and TSV.

    Yardsticks follow the rows of results and the comparisons, by metrics of their own. Rows of all
    people have no key ``group``, rows of groups do, each in a file of their own: who looks up a
    model's figure in ``results.json`` finds one.

    Parameters
    ----------
    folder : path
        Made where missing; files are replaced.
    results : Results

    Returns
    -------
    Path
        Of ``results.json``.
    """
    folder, told = Path(folder), (*results.rows, *results.yardsticks)
    whole = [{k: v for k, v in _plain(row).items() if k != "group"} for row in told]
    keys = [field.name for field in fields(Row)]
    _write(folder, RESULTS, whole, [key for key in keys if key != "group"])
    _write(folder, SUBGROUPS, [_plain(row) for row in results.subgroups], keys)
    for name, kind, items in (
        (COMPARISONS, Comparison, (*results.comparisons, *results.yardstick_comparisons)),
        (GAPS, Gap, results.gaps),
        (OVER_SITES, OverSites, results.over_sites),
    ):
        _write(folder, name, [_plain(item) for item in items], [f.name for f in fields(kind)])
    return folder / f"{RESULTS}.json"


def _plain(item: Row | Comparison | Gap | OverSites) -> dict[str, Any]:
    """Keys and values for JSON: NaN becomes None."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(item).items()
    }


def _write(folder: Path, name: str, rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    with atomic_path(folder / f"{name}.json") as temporary:
        text = json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    lines = ["\t".join(keys), *("\t".join(_cell(row[key]) for key in keys) for row in rows)]
    with atomic_path(folder / f"{name}.tsv") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    """Text without what would end a cell or a line."""
    return "n/a" if value is None else " ".join(str(value).split())
