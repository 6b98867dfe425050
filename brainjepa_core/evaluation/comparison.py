"""One table for one task: every baseline, every model, the same people, with intervals.

``brainjepa site evaluate`` makes it of one store, ``brainjepa evaluate`` of several sites' stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.asked.asker import Asker, new_hospitals
from brainjepa_core.evaluation.asked.yardstick import Asked
from brainjepa_core.evaluation.features.connectivity import KINDS
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import from_scratch
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.methods.baselines import (
    MOTION,
    TABULAR,
    baseline_methods,
    estimator_name,
)
from brainjepa_core.evaluation.methods.chosen import chosen_methods
from brainjepa_core.evaluation.methods.late_fusion import vector_methods
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.model_methods import (
    RANDOM,
    answering,
    controls_of,
    finetuned_methods,
    of_model,
    probe_methods,
)
from brainjepa_core.evaluation.report.clinical import calibration_figure, clinical_table
from brainjepa_core.evaluation.report.mlflow_runs import log_evaluation
from brainjepa_core.evaluation.report.prediction_figures import truth_figure
from brainjepa_core.evaluation.report.result_figures import forest
from brainjepa_core.evaluation.report.result_page import PAGE, TaskFacts, write_result_page
from brainjepa_core.evaluation.scores.evaluation import KEPT, predict_all
from brainjepa_core.evaluation.scores.results import (
    TABLES,
    Predictions,
    Results,
    write_results,
)
from brainjepa_core.evaluation.scores.statistics import evaluate_predictions
from brainjepa_core.evaluation.tasks.across import AcrossHospitals
from brainjepa_core.evaluation.tasks.protocols import (
    Index,
    ProtocolSettings,
    Split,
    splits_of,
    untested_sites,
)
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import model_digest
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import claim_folder, digest
from brainjepa_core.problems import counted
from brainjepa_core.signals.data_origin import data_origin
from brainjepa_core.signals.storing.scan_table import array_digest
from brainjepa_core.signals.storing.vectors import vectors_digest
from brainjepa_core.signals.windows import Windows
from brainjepa_core.version import VERSION

CACHE, FIGURES = "cache", "figures"
WRITTEN = (
    KEPT,
    CACHE,
    FIGURES,
    PAGE,
    *(f"{name}.{end}" for name in TABLES for end in ("json", "tsv")),
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationPlan:
    """What stands in the table.

    Attributes
    ----------
    task : TaskSettings
    protocol : ProtocolSettings
    models : dict of str to BrainModel
        By the name the table gives them; none gives the baselines alone.
    finetune : FinetuneSettings, optional
        Also fine-tune the models, and train the first one's network from scratch.
    methods : tuple of str
        Also these, by names of `brainjepa_core.evaluation.methods.chosen`.
    device : str
        Where people are embedded and everything is trained that torch trains.
    across : AcrossHospitals, optional
        Who trains and who is tested, in the place of the protocol's splits; of the same windows.
    consensus : ndarray of float64 [R, R], optional
        As of `SignalReadOuts`, of people who are not tested.
    directions : ndarray of float64 [R, m], optional
        As of `CoskewnessFeatures`, of people who are not tested.
    asks : bool
        Also what hospitals ask, see `brainjepa_core.evaluation.asked`; only `across`.
    """

    task: TaskSettings
    protocol: ProtocolSettings
    models: Mapping[str, BrainModel]
    finetune: FinetuneSettings | None = None
    methods: tuple[str, ...] = ()
    device: str = "cpu"
    across: AcrossHospitals | None = None
    consensus: Float64 | None = None
    directions: Float64 | None = None
    asks: bool = False

    def settings(self) -> dict[str, Any]:
        """Task, protocol and fine-tuning as plain values."""
        return {
            "task": self.task.model_dump(mode="json"),
            "protocol": self.protocol.model_dump(mode="json"),
            "finetune": None if self.finetune is None else self.finetune.model_dump(mode="json"),
        }

    def splits(self, data: TaskData) -> list[Split]:
        """Who trains and who is tested of a task's people, each time."""
        if self.across is None:
            return splits_of(self.protocol, data)
        return [self.across.split(data, self.protocol)]

    def origin(self, windows: Windows, data: TaskData, splits: Sequence[Split]) -> dict[str, Any]:
        """All that decides the table, for `brainjepa_core.origin`: plain values and digests."""
        return {
            **self.settings(),
            **data_origin(windows),
            "windows": windows.describe(),
            "phenotypes": phenotypes_digest(data),
            "splits": digest([split.facts() for split in splits]),
            "vectors": vectors_digest(windows),
            "models": [[name, model_digest(model)] for name, model in self.models.items()],
            "methods": list(self.methods),
            "version": VERSION,
            **self._across_origin(),
        }

    def _across_origin(self) -> dict[str, Any]:
        if self.across is None:
            return {}
        given = {"consensus": self.consensus, "directions": self.directions}
        known = {name: None if a is None else array_digest(a) for name, a in given.items()}
        tested = digest(np.flatnonzero(self.across.tested).tolist())
        return {"tested": tested, **known, "asks": self.asks}


def compare_models(
    comparison: EvaluationPlan,
    windows: Windows,
    out: Path,
    say: Say = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Results:
    """Make the table in a folder: results, page and MLflow runs; goes on where it stopped.

    Parameters
    ----------
    comparison : EvaluationPlan
    windows : Windows
        Of all sites, made as the models' windows were.
    out : Path
    say : callable
        Called with a line for a person.
    progress : callable
        Called with a method's name after each split.

    Raises
    ------
    ValueError
        If the task cannot be judged with these people (says the counts and the mend), or the
        folder is of an evaluation of something else (says of what).
    """
    data = task_data(comparison.task, windows)
    across, splits = comparison.across, comparison.splits(data)
    origin = comparison.origin(windows, data, splits)
    claim_folder(out, origin, WRITTEN)
    say(_who_takes_part(data, splits, across is not None))
    signals = SignalReadOuts(windows, comparison.consensus)
    methods = table_methods(comparison, windows, data, signals, out / CACHE, say)
    predictions = predict_all(methods, data, splits, out, progress)
    reference = connectivity_name(data)
    kind = comparison.protocol.kind
    names = [method.name for method in methods]
    controls = controls_of(names, comparison.models)
    results = evaluate_predictions(data, predictions, kind, reference, controls)
    asked: list[Asked] = []
    if across is not None and comparison.asks:
        asking = Asker(windows, across.tested, data, splits[0], comparison.models, signals,
                       reference, out / CACHE, progress)  # fmt: skip
        asked = asking.everything(methods, predictions)
        results += Results(
            yardsticks=tuple(dict.fromkeys(row for one in asked for row in one.rows)),
            yardstick_comparisons=tuple(dict.fromkeys(c for a in asked for c in a.comparisons)),
        )
        asked = [*new_hospitals(results, data, comparison.models, reference), *asked]
    write_results(out, results)
    first = next(iter(comparison.models), None)  # the others stand beside the first
    subjects = [] if first is None else of_model(names, first)
    judged = [] if first is None else answering(names, first)
    page = _write_pictures(
        out, data, comparison, predictions, results, reference, subjects, judged, asked
    )
    told = {"protocol": kind, "connectivity": reference}
    log_evaluation(out, results, told, origin, (page,), reference=reference)
    return results


def phenotypes_digest(data: TaskData) -> str:
    """Of who takes part, at which site, and what is known of them in columns that are read."""
    arrays = (data.people, data.sites, data.target, data.covariates)
    read = {*data.task.columns, *MOTION, *TABULAR}
    facts = [{name: f[name] for name in sorted(read & f.keys())} for f in data.facts]
    return digest([*(array.tolist() for array in arrays), data.classes, facts, data.left_out])


def _who_takes_part(data: TaskData, splits: list[Split], across: bool) -> str:
    """A line for a person."""
    missing = () if across else untested_sites(splits, data)
    everybody, test = np.arange(len(data)), splits[0].test
    if across:
        who = f"{_many(data, np.delete(everybody, test))} train, {_many(data, test)} are tested"
    else:
        who = f"{_many(data, everybody)}, {counted(len(splits), 'split')}"
    return (
        who
        + "".join(f"; {n} left out: {reason}" for reason, n in data.left_out.items())
        + (f"; nobody is tested of {', '.join(missing)}" if missing else "")
    )


def _many(data: TaskData, rows: Index) -> str:
    """``312 people of 12 sites``."""
    sites = len(set(data.sites[rows].tolist()))
    return f"{counted(len(rows), 'person', 'people')} of {counted(sites, 'site')}"


def _write_pictures(
    out: Path,
    data: TaskData,
    comparison: EvaluationPlan,
    predictions: Sequence[Predictions],
    results: Results,
    reference: str,
    subjects: Sequence[str],
    judged: Sequence[str],
    asked: Sequence[Asked],
) -> Path:
    """Write the figures and the page; returns the page."""
    drawn = (*judged[:3], reference)
    shown = [p for name in drawn for p in predictions if p.model == name]
    truth = truth_figure(data, shown, reference)
    pictures = {"What was predicted": truth}
    if (calibrated := calibration_figure(data, shown, reference)) is not None:
        pictures["Calibration"] = calibrated
    metrics = list(dict.fromkeys(row.metric for row in results.rows))
    _save(out / FIGURES / "models.png", forest(results.rows, metrics, reference, subjects))
    _save(out / FIGURES / "predictions.png", truth)
    facts = TaskFacts.of(
        data,
        comparison.protocol.kind,
        left_out=data.left_out,
        settings=comparison.settings(),
        pictures=pictures,
        clinical=clinical_table(data, predictions),
        notes=() if comparison.across is None else comparison.across.notes,
        asked=asked,
    )
    return write_result_page(
        out, results, [facts], reference=reference, subjects=subjects, answering=judged
    )


def _save(path: Path, figure: Figure) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png")


def connectivity_name(data: TaskData) -> str:
    """The baseline that everything is compared with: correlations and a support vector machine."""
    return f"FC correlation + {estimator_name(data, 'svm')}"


def table_methods(
    comparison: EvaluationPlan,
    windows: Windows,
    data: TaskData,
    signals: SignalReadOuts,
    cache: Path,
    say: Say,
) -> list[Method]:
    """Everything in the table: baselines, models, vectors of other modalities beside the probes."""
    methods = _methods_of_scans(comparison, windows, data, signals, cache, say)
    joined = {connectivity_name(data), *(f"{name}: probe" for name in comparison.models)}
    return methods + vector_methods(windows, data, [m for m in methods if m.name in joined])


def _methods_of_scans(
    comparison: EvaluationPlan,
    windows: Windows,
    data: TaskData,
    signals: SignalReadOuts,
    cache: Path,
    say: Say,
) -> list[Method]:
    methods = baseline_methods(windows, data, signals, cache, KINDS[:2])
    asked_for, directions = comparison.methods, comparison.directions
    about = windows, data, signals, cache, comparison.device
    methods += chosen_methods(asked_for, *about, directions=directions)
    models = {name: model.to(comparison.device) for name, model in comparison.models.items()}
    if not models:
        return methods
    first = next(iter(models.values()))
    models[RANDOM] = from_scratch(first)
    for name, model in models.items():
        say(f"embedding with {name}")
        methods += probe_methods(name, model, windows, signals, cache)
    if comparison.finetune is not None:
        asked = {name: models[name] for name in comparison.models}
        methods += finetuned_methods(asked, windows, comparison.finetune, signals, cache)
    return methods
