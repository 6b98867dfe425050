"""Figures of an evaluation's folder for the card of a model that was judged in it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from brainjepa_core.evaluation.methods.model_methods import answering
from brainjepa_core.evaluation.scores.metrics import headline
from brainjepa_core.evaluation.scores.results import COMPARISONS, RESULTS, Comparison, Row
from brainjepa_core.models.checkpoint import model_digest
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.sharing.card import Figure
from brainjepa_core.models.sharing.measured import Measured
from brainjepa_core.origin import ORIGIN
from brainjepa_core.problems import listed, plainly

Kind = TypeVar("Kind")


def figures_of(folder: str | Path, model: BrainModel) -> Measured:
    """What an evaluation found of a model: its metric, and what it has above others.

    Parameters
    ----------
    folder : path
        That ``brainjepa evaluate`` or ``brainjepa site evaluate`` wrote, or its ``results.json``.
    model : BrainModel
        Known by its digest, whatever the evaluation calls it.

    Raises
    ------
    ValueError
        If it is no such folder, is damaged, or was of other models.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == f"{RESULTS}.json" else folder
    origin = _json(folder, ORIGIN)
    name, metric = _name_of(model, origin, folder), _judged_by(origin, folder)
    rows = _read(folder, RESULTS, TypeAdapter(list[Row]))
    comparisons = _read(folder, COMPARISONS, TypeAdapter(list[Comparison]))
    methods = answering(dict.fromkeys(row.model for row in rows), name)
    own = [row for row in rows if row.model in methods and row.metric == metric]
    if not own:
        raise ValueError(
            f"expected figures of '{name}' in {RESULTS}.json, found none in '{folder.name}'; let "
            "the evaluation end"
        )
    less = [one for one in comparisons if one.model in methods and one.metric == metric]
    against = {one.against for one in less}
    others = [row for row in rows if row.model in against and row.metric == metric]
    figures = (*_of_rows((*own, *others)), *_of_comparisons(less))
    whose = f"{own[0].n} people, {own[0].protocol}"
    return Measured(whose, figures, frozenset(methods))


def _name_of(model: BrainModel, origin: Any, folder: Path) -> str:
    """What an evaluation calls a model."""
    judged = origin.get("models") if isinstance(origin, dict) else None
    if not isinstance(judged, list) or not all(
        isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in judged
    ):
        raise _no_evaluation(folder)
    digest = model_digest(model)
    name = next((called for called, found in judged if found == digest), None)
    if name is None:
        called = [repr(called) for called, _ in judged]
        found = f"one of {listed(called)} with other weights" if called else "one of no model"
        raise ValueError(
            f"expected an evaluation of this model, found {found} in '{folder.name}'; judge this "
            "one (brainjepa evaluate --checkpoint), or leave --results out"
        )
    return str(name)


def _judged_by(origin: dict[str, Any], folder: Path) -> str:
    """The metric that the evaluation's task is judged by."""
    try:
        return headline(origin["task"]["kind"], origin["task"]["within_site"])
    except (KeyError, TypeError) as error:
        raise _no_evaluation(folder) from error


def _no_evaluation(folder: Path) -> ValueError:
    return ValueError(
        f"expected the folder of an evaluation, whose {ORIGIN} has the task and the models that "
        f"were judged, found another in '{folder.name}'; give what `brainjepa evaluate --out` wrote"
    )


def _of_rows(rows: Sequence[Row]) -> Iterator[Figure]:
    for row in rows:
        interval = _known(row.low), _known(row.high)
        yield Figure(row.model, row.task, row.metric, _known(row.mean), *interval, row.n)


def _of_comparisons(comparisons: Sequence[Comparison]) -> Iterator[Figure]:
    for one in comparisons:
        interval = _known(one.low), _known(one.high)
        metric = f"{one.metric} above {one.against}"
        yield Figure(one.model, one.task, metric, _known(one.difference), *interval)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(folder: Path, name: str, kind: TypeAdapter[list[Kind]]) -> list[Kind]:
    content = json.dumps(_json(folder, f"{name}.json"))
    try:
        return kind.validate_json(content)  # as strict as its types, of objects too
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(
            f"expected the table of an evaluation in {name}.json, found another form at "
            f"'{where}' in '{folder.name}'; make the evaluation anew"
        ) from error


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"expected the folder of an evaluation, found {plainly(error)} for {name} in "
            f"'{folder.name}'; give what `brainjepa evaluate --out` wrote, once it has ended"
        ) from error
