"""A task over all sites: each site's own scores, one probe from the sums of all, and a matrix.

The probe of all sites is that of pooled data (`brainjepa_core.evaluation.common_probe`), tested
by people whose fold it has not seen. The matrix asks how a probe fitted at one site does at each
other one, as far as sites let their probes go.

Shapes: S sites, J probes, F folds, P features, Q outcomes, B bins.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from flwr.serverapp import Grid

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.evaluation.common_probe import CrossFit, cross_fit, score_range
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.protocol import total
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import BASIS, COSKEWNESS, NO_MODELS
from brainjepa_server.combining.coskewness import directions_of
from brainjepa_server.combining.magnitudes import oversized
from brainjepa_server.combining.validation import RejectedReply, require_told
from brainjepa_server.combining.waiting.moments import WaitingMoments
from brainjepa_server.record.history import read_history
from brainjepa_server.rounds.joining import Door, gather
from brainjepa_server.rounds.round import Weights
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.starting import weights_of
from brainjepa_server.study_folder import FINAL
from brainjepa_server.tasks.asking import Asking, probe_arrays
from brainjepa_server.tasks.newton import newton_probe
from brainjepa_server.tasks.replies import (
    checked_judgement,
    checked_moments,
    checked_probe,
    checked_scores,
)
from brainjepa_server.tasks.report import (
    CrossSiteMatrix,
    FederatedProbe,
    Metrics,
    SiteScores,
    TaskReport,
)
from brainjepa_server.tasks.settings import StudyTask


def evaluate_task(
    sites: Sites,
    settings: StudySettings,
    weights: Weights,
    basis: Float32,
    question: StudyTask,
    directions: Float64 | None = None,
) -> TaskReport:
    """Ask all sites about a task, with some weights of the study's model.

    Parameters
    ----------
    sites : Sites
    settings : StudySettings
        Of the study: its model, its folds of people, its deadline.
    weights : dict of str to ndarray of float32
    basis : ndarray of float32 [R, m]
    question : StudyTask
    directions : ndarray of float64 [R, m], optional
        Of the sites' co-skewness, where the study has summed it.

    Returns
    -------
    TaskReport
        Without the probe of all sites and the matrix where the task has covariates, which are
        adjusted for within sites only. Under secure sums with nothing but that probe.
    """
    task, parts, pools = question.task, question.parts, question.pools
    report = TaskReport(task.name, question.protocol.kind, task.target_unit)
    read = settings.pretraining.model_family.model.roles.read(weights)
    asked = {**{name: weights[name] for name in read}, BASIS: basis}
    asking = Asking(sites, settings, asked, question, report)
    if settings.sums:
        from brainjepa_server.tasks.summed_task import summed_probes

        summed_probes(asking, basis)
        return report
    names = sorted(sites.nodes)
    if "scores" in parts:
        _site_scores(asking, names, {} if directions is None else {COSKEWNESS: directions})
    if task.covariates:
        reason = "covariates are adjusted for within sites only; leave them out of the task"
        asking.leave_out("probe of all sites and matrix", "all", reason)
        return report
    with ExitStack() as waiting:
        told = _told_moments(asking, names, waiting) if "probe" in parts else {}
        for pool in pools:
            if pool in told:
                found = _federated_probes(asking, names, pool, told[pool])
                report.probes[pool] = found
            if "matrix" in parts:
                report.matrices[pool] = _matrix(asking, names, pool)
    return report


def evaluate_finished(
    grid: Grid,
    settings: StudySettings,
    folder: Path,
    question: StudyTask,
    model: str = FINAL,
    nodes: int | None = None,
) -> TaskReport:
    """`evaluate_task` of a finished study's model, over the sites that are there now.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    settings : StudySettings
        As the study ran with them.
    folder : Path
        Of the study.
    question : StudyTask
    model : {"final", "best"}
    nodes : int, optional
        How many nodes the grid has in all, where that is known.

    Raises
    ------
    ValueError
        If there is no such model, it is of another atlas, too few sites fit together, or they
        answer within secure sums alone.
    """
    if settings.sums:
        raise ValueError(
            "expected a study whose sites answer about tasks, found one with protect: secure_sum, "
            "where no site tells scores of its own people; ask in a study of its own that starts "
            "from this model (start_from)"
        )
    trained, provenance = read_model(folder / model)
    members = gather(Door(grid, settings), read_history(folder).site_names, nodes)
    if provenance.rois != members.rois:
        raise ValueError(
            f"expected sites with the {len(provenance.rois)} ROIs of the model's atlas "
            f"'{provenance.atlas}' in order, found an atlas of {len(members.rois)}; ask the sites "
            "that the model was trained with"
        )
    weights, basis = weights_of(trained), trained.basis.numpy()
    sites = Sites(grid, members.nodes, counts=members.counts)
    directions = directions_of(folder) if settings.coskewness else None
    return evaluate_task(sites, settings, weights, basis, question, directions)


def _site_scores(asking: Asking, names: list[str], directions: Arrays) -> None:
    models = [name for name in NO_MODELS if name != COSKEWNESS or directions]
    models += asking.probe.pools
    for answer in asking.ask("scores", names, directions):
        try:
            told = checked_scores(answer.reply, asking.probe, asking.classes, models)
            people, classes, metrics = told
            require_told(people, answer.counts)
            asking.report.sites[answer.site] = SiteScores(people, classes, metrics)
        except RejectedReply as error:
            asking.leave_out("scores", answer.site, error)


def _told_moments(
    asking: Asking, names: list[str], waiting: ExitStack
) -> dict[str, WaitingMoments]:
    """Moments of each fold by pool and site, of those that may be added up."""
    found: dict[str, WaitingMoments] = {}
    widths: dict[str, int] = {}
    for answer in asking.ask("sums", names):
        try:
            own = checked_moments(answer.reply, asking.probe, asking.classes, asking.folds, widths)
            for told in own.values():
                require_told(sum(m.people for m in told), answer.counts)
        except RejectedReply as error:
            asking.leave_out("sums", answer.site, error)
            continue
        for pool, told in own.items():
            if pool not in found:
                found[pool] = waiting.enter_context(WaitingMoments(asking.sites.folder))
                widths[pool] = len(told[0].x_sum)
            found[pool].take(answer.site, told)
        del own, told  # before the next site's are read
    for sites in found.values():
        for site, reason in oversized(sites.magnitudes).items():
            asking.leave_out("sums", site, reason)
            sites.leave_out(site)
    if not found:
        asking.leave_out("sums", "all", "no site told sums of its people")
    return found


def _federated_probes(
    asking: Asking, names: list[str], pool: str, told: WaitingMoments
) -> dict[str, FederatedProbe]:
    try:
        fitted = cross_fit(
            [total(site[fold] for site in told.values()) for fold in range(asking.folds)]
        )
    except ValueError as error:
        asking.leave_out(f"probe of all sites ({pool})", "all", error)
        return {}
    found = {"ridge": _judged(asking, names, pool, "ridge", fitted)}
    penalty = asking.task.penalty
    if penalty is not None and asking.task.logistic:
        logistic = newton_probe(asking.of(pool), told, pool, penalty)
        if logistic is not None:
            found["logistic"] = _judged(asking, names, pool, "logistic", logistic)
    return found


def _judged(
    asking: Asking, names: list[str], pool: str, estimator: str, fitted: CrossFit
) -> FederatedProbe:
    """Scores of the fits on the people that each has not seen, from all sites."""
    asking = asking.of(pool)
    sites: dict[str, Metrics] = {}
    sizes: dict[str, int] = {}
    counts: ScoreHistogram | None = None
    arrays = probe_arrays(pool, [fitted.probes])
    if asking.classes == 2:
        arrays[f"probe.{pool}.range"] = score_range(fitted.predicted)[None]
    for answer in asking.ask("judge", names, arrays):
        try:
            judged = checked_judgement(
                answer.reply, asking.probe, asking.classes, 1, counted=asking.classes == 2
            )
            require_told(judged.people, answer.counts)
        except RejectedReply as error:
            asking.leave_out(f"{estimator} probe of all sites ({pool})", answer.site, error)
            continue
        sites[answer.site], sizes[answer.site] = judged.metrics[0], judged.people
        if judged.histograms is not None:
            (found,) = judged.histograms
            counts = found if counts is None else counts + found
    metrics = dict(fitted.metrics)
    for name in dict.fromkeys(name for found in sites.values() for name in found):
        if name in metrics:
            continue  # what sums tell of all people is not a mean over sites
        known = [site for site in sites if name in sites[site]]
        weights = [max(sizes[site], 1) for site in known]  # rounded down at the sites
        mean = float(np.average([sites[site][name] for site in known], weights=weights))
        metrics["auc within site" if name == "auc" else name] = mean
    if counts is not None:
        metrics["auc"] = counts.auc()
    tested = sum(sizes.values())
    return FederatedProbe(
        estimator, fitted.final, fitted.probes, metrics, fitted.people, tested, sites
    )


def _matrix(asking: Asking, names: list[str], pool: str) -> CrossSiteMatrix:
    """Probes of sites that share them, scored at every other site."""
    asking = asking.of(pool)
    reasons: dict[str, str] = {}
    probes: dict[str, Ridge] = {}
    own: dict[str, Metrics] = {}
    for answer in asking.ask("probe", names):
        try:
            probes[answer.site], own[answer.site] = checked_probe(
                answer.reply, asking.probe, asking.classes, next(iter(probes.values()), None)
            )
        except RejectedReply as error:
            reasons[f"probe of {answer.site}"] = str(error)
    values: dict[str, Float64] = {}
    people: dict[str, int] = {}

    def put(metric: str, row: str, column: str, value: float) -> None:
        empty = np.full((len(names), len(names)), np.nan)
        values.setdefault(metric, empty)[names.index(row), names.index(column)] = value

    arrays = probe_arrays(pool, [(probe,) for probe in probes.values()])
    for answer in asking.ask("judge", names, arrays) if probes else ():
        try:
            judged = checked_judgement(answer.reply, asking.probe, asking.classes, len(probes))
            require_told(judged.people, answer.counts)
        except RejectedReply as error:
            reasons[f"scores at {answer.site}"] = str(error)
            continue
        people[answer.site] = judged.people
        for row, metrics in zip(probes, judged.metrics, strict=True):
            for metric, value in (own[row] if row == answer.site else metrics).items():
                put(metric, row, answer.site, value)
    return CrossSiteMatrix(tuple(names), values, people, reasons)
