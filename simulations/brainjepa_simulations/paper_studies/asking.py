"""Tasks put to the models of a study: one table each, on the same people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from brainjepa_core.evaluation.comparison import (
    WRITTEN,
    EvaluationPlan,
    connectivity_name,
    table_methods,
)
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.model_methods import RANDOM, SCRATCH
from brainjepa_core.evaluation.methods.readout_methods import BAR
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.metrics import headline
from brainjepa_core.evaluation.scores.resampling import Score, score_models
from brainjepa_core.evaluation.scores.results import Comparison
from brainjepa_core.evaluation.scores.statistics import compare
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.origin import claim_folder
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.paper_studies.found import Asked
from brainjepa_simulations.paper_studies.settings import PaperStudy

SHOWN = {
    "regression": ("r", "standardised mse"),
    "classification": ("auc", "balanced accuracy", "accuracy", "f1"),
}
VECTORS = "vectors"  # in the names of their rows
Scores = dict[str, dict[str, Score]]


def ask(
    study: PaperStudy,
    plan: EvaluationPlan,
    windows: Windows,
    out: Path,
    cache: Path,
    title: str,
    say: Callable[[str], None],
) -> Asked:
    """One task's figures.

    Parameters
    ----------
    study : PaperStudy
    plan : EvaluationPlan
        Task, protocol (or who trains and is tested) and models, the first of which the others are
        compared with.
    windows : Windows
        Of everybody.
    out : Path
        Of the evaluation; goes on where it stopped.
    cache : Path
        What models make of people, which tasks share.
    title : str
    say : callable
    """
    data = task_data(plan.task, windows)
    splits = plan.splits(data)
    claim_folder(out, plan.origin(windows, data, splits), WRITTEN)
    reference, judged = connectivity_name(data), headline(plan.task.kind, plan.task.within_site)
    metrics = tuple(dict.fromkeys((judged, *SHOWN[plan.task.kind])))
    everything = table_methods(plan, windows, data, SignalReadOuts(windows), cache, say)
    subjects = [m.name for m in everything if _is_subject(study, plan, m.name)]
    shown = {reference, BAR, SCRATCH, *(f"{RANDOM}: {read}" for read in study.read_by)}
    methods = [m for m in everything if m.name in shown or m.name in subjects]
    scores = score_models(data, predict_all(methods, data, splits, out, say))
    return Asked(
        title=title,
        metrics=metrics,
        rows=tuple(
            scores[method.name][metric].row(method.name, plan.task, plan.protocol.kind, metric)
            for method in methods
            for metric in metrics
        ),
        reference=reference,
        subjects=tuple(subjects),
        differences=tuple(_differences(study, plan, scores, judged)),
        notes=tuple(f"{count} left out: {reason}" for reason, count in data.left_out.items()),
    )


def _is_subject(study: PaperStudy, plan: EvaluationPlan, name: str) -> bool:
    """Whether a row is one of the study's: a model read in a way that it shows, or vectors'."""
    model, _, read = name.partition(": ")
    if study.kind == "fusion" and VECTORS in name:
        return True
    return model in plan.models and read in study.read_by


def _differences(
    study: PaperStudy, plan: EvaluationPlan, scores: Scores, metric: str
) -> list[Comparison]:
    """Each model less the first, read alike, by a paired bootstrap over people."""
    first, *others = plan.models
    found: list[Comparison] = []
    for read in study.read_by:
        pairs = {f"{other}: {read}": f"{first}: {read}" for other in others}
        if pairs:
            found += compare(scores, pairs, plan.task, plan.protocol.kind)
    return [one for one in found if one.metric == metric]
