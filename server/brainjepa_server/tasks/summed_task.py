"""A task under secure sums: one probe from the sums of all sites, and of no site anything.

Shapes: P features, F folds.
"""

from __future__ import annotations

import math

from brainjepa_core.arrays import Arrays, Float32
from brainjepa_core.evaluation.common_probe import CrossFit, cross_fit, score_range
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import PEOPLE_A_FEATURE, unstacked
from brainjepa_core.wire.messages import EVALUATE, Want
from brainjepa_core.wire.summed_people import Layout, counts_layout, task_layout
from brainjepa_server.combining.validation import of_known_names
from brainjepa_server.rounds.one_sum import Question
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.rounds.secure_sums import secure_sums
from brainjepa_server.rounds.summed import summed_widths
from brainjepa_server.rounds.summed_people import summed_people
from brainjepa_server.tasks.asking import Asking, probe_arrays
from brainjepa_server.tasks.replies import task_moments
from brainjepa_server.tasks.report import FederatedProbe


def summed_probes(asking: Asking, basis: Float32) -> None:
    """Put the probes of all sites into the report, or why there are none.

    Parameters
    ----------
    asking : Asking
    basis : ndarray of float32 [R, m]
    """
    pools, classes = asking.task.pools, asking.classes
    settings, most = asking.settings, asking.settings.assignment().features_summed
    widths = summed_widths(settings, basis, asking.sites.networks, most)
    layout = task_layout({pool: widths[pool] for pool in pools}, classes, asking.folds)
    sums = _sum(asking, "sums", layout, {})
    if sums is None:
        return
    with of_known_names():
        told = task_moments(sums, pools, classes, asking.folds, {})
    for pool in pools:
        found = _probe(asking.of(pool), pool, told[pool])
        asking.report.probes[pool] = {} if found is None else {"ridge": found}


def _probe(asking: Asking, pool: str, folds: list[Moments]) -> FederatedProbe | None:
    """The probe of one pool, if there are people enough for it."""
    what = f"probe of all sites ({pool})"
    people, features = sum(m.n for m in folds), len(folds[0].x_sum)
    if people < PEOPLE_A_FEATURE * features:
        reason = (
            f"expected at least {PEOPLE_A_FEATURE} people for each of {features} features in all, "
            f"found {people}; ask about an outcome that more people have"
        )
        asking.leave_out(what, "all", reason)
        return None
    try:
        fitted = cross_fit(folds)
    except ValueError as error:
        asking.leave_out(what, "all", error)
        return None
    metrics, tested = dict(fitted.metrics), 0
    if asking.classes == 2:
        counts = _counts(asking, pool, fitted)
        if counts is not None:
            metrics["auc"], tested = counts.auc(), counts.people
    return FederatedProbe("ridge", fitted.final, fitted.probes, metrics, people, tested, {})


def _counts(asking: Asking, pool: str, fitted: CrossFit) -> ScoreHistogram | None:
    """Of all people's scores in bins, each by the fit that has not seen their fold."""
    arrays = probe_arrays(pool, [fitted.probes])
    arrays[f"probe.{pool}.range"] = score_range(fitted.predicted)[None]
    sums = _sum(asking, "judge", counts_layout([pool]), arrays)
    if sums is None:
        return None
    with of_known_names():
        (counts,) = unstacked(ScoreHistogram, sums, 1, f"probe.{pool}.")
    return counts if math.isfinite(counts.auc()) else None


def _sum(asking: Asking, want: Want, layout: Layout, arrays: Arrays) -> Arrays | None:
    """One secure sum over the sites; who is not in it is left out with the reason."""
    sites, rounds = asking.sites, asking.settings.rounds
    assignment, sent = asking.question(want, arrays)
    asked = Question(EVALUATE, assignment, sent, layout, rounds.quorum, rounds.deadline)
    try:
        (found,) = secure_sums(sites, asked)
        sums = summed_people(sites, found, layout)
    except (QuorumMissed, ValueError) as error:
        asking.leave_out(want, "all", error)
        return None
    for site, reason in found.gone.items():
        asking.leave_out(want, site, reason)
    return sums
