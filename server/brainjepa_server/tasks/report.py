"""What is known of a task after all sites were asked.

Shapes: S sites.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import STANDARDISED, metric_unit
from brainjepa_core.sums.ridge import Ridge

Metrics = dict[str, float]
NO_INTERVALS = (
    "No intervals over people are known: their values stay at their sites. 'at sites' is the mean "
    "over sites, each counted once."
)
FROM_SUMS = ("r", "r2", "mse", STANDARDISED)  # metrics of a probe that sums tell


@dataclass(frozen=True)
class SiteScores:
    """What a site says of probes on its own people.

    Attributes
    ----------
    people : int
        Rounded down by the site.
    classes : tuple of int
        People of each class, likewise; empty for regression.
    metrics : dict
        By model (``nothing``, ``connectivity``, ``coskewness`` or a pool) and metric.
    """

    people: int
    classes: tuple[int, ...]
    metrics: dict[str, Metrics]


@dataclass(frozen=True, eq=False)
class FederatedProbe:
    """One probe for all sites.

    Attributes
    ----------
    estimator : {"ridge", "logistic"}
    probe : Ridge
        Fitted on the people of all sites, in units of the features.
    fits : tuple of Ridge
        Without the people of each fold.
    metrics : dict of str to float
        Over all people of all sites, each by the fit that has not seen their fold. Of two classes
        ``auc`` is that of all people by scores in bins; other metrics of classes, and ``mae``, are
        means over sites, weighted by their tested people.
    people : int
        Behind `FROM_SUMS`.
    tested : int
        Behind the other metrics, rounded down at each site.
    sites : dict of str to Metrics
        The same fits at each site.
    """

    estimator: str
    probe: Ridge
    fits: tuple[Ridge, ...]
    metrics: dict[str, float]
    people: int
    tested: int
    sites: dict[str, Metrics]


@dataclass(frozen=True, eq=False)
class CrossSiteMatrix:
    """Probes fitted at a site (row) and scored at a site (column).

    Attributes
    ----------
    sites : tuple of str
        S names, of rows and columns.
    values : dict of str to ndarray [S, S]
        By metric. On the diagonal a site's own people are scored by fits that have not seen their
        fold. NaN where a site does not take part.
    people : dict of str to int
        Scored people by column.
    reasons : dict of str to str
        Why a site has no row or column.
    """

    sites: tuple[str, ...]
    values: dict[str, Float64]
    people: dict[str, int]
    reasons: dict[str, str]


@dataclass
class TaskReport:
    """All that is known of a task.

    Attributes
    ----------
    task, protocol : str
    unit : str
        Of a number to predict; empty for classes.
    sites : dict of str to SiteScores
    probes : dict of str to dict of str to FederatedProbe
        By pool and estimator.
    matrices : dict of str to CrossSiteMatrix
        By pool.
    left_out : dict of str to dict of str to str
        By what was asked, sites that are left out and why; ``all`` where the question failed.
    """

    task: str
    protocol: str
    unit: str = ""
    sites: dict[str, SiteScores] = field(default_factory=dict)
    probes: dict[str, dict[str, FederatedProbe]] = field(default_factory=dict)
    matrices: dict[str, CrossSiteMatrix] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, str | float | int | None]]:
        """Rows with the keys of ``results.json``.

        No interval is known (None), since people's values stay at their sites. ``mean`` and ``sd``
        of ``<model> at sites`` are over the sites, unweighted; beside them stand medians over the
        sites, which one site that lies does not move far.
        """
        rows = []
        for pool, probes in self.probes.items():
            for estimator, found in probes.items():
                name = f"federated {estimator} probe ({pool})"
                for metric, value in found.metrics.items():
                    n = found.people if metric in FROM_SUMS else found.tested
                    rows.append(self._row(name, metric, [value], n))
                for metric, values in _by_metric(found.sites.values()).items():
                    rows.append(self._median_row(name, metric, values, found.tested))
        models = dict.fromkeys(model for site in self.sites.values() for model in site.metrics)
        for model in models:
            known = [site for site in self.sites.values() if model in site.metrics]
            n = sum(site.people for site in known)
            for metric, values in _by_metric(site.metrics[model] for site in known).items():
                rows.append(self._row(f"{model} at sites", metric, values, n))
                rows.append(self._median_row(model, metric, values, n))
        return rows

    def _median_row(
        self, model: str, metric: str, values: list[float], n: int
    ) -> dict[str, str | float | int | None]:
        return self._row(f"{model}, median of sites", metric, [median(values)], n)

    def _row(
        self, model: str, metric: str, values: list[float], n: int
    ) -> dict[str, str | float | int | None]:
        mean = float(np.mean(values))
        return {
            "model": model,
            "task": self.task,
            "protocol": self.protocol,
            "metric": metric,
            "mean": mean if np.isfinite(mean) else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "low": None,
            "high": None,
            "n": n,
            "unit": metric_unit(metric, self.unit),
        }


def _by_metric(sites: Iterable[Metrics]) -> dict[str, list[float]]:
    """Values of the sites that know a metric, in order."""
    found: dict[str, list[float]] = {}
    for metrics in sites:
        for metric, value in metrics.items():
            found.setdefault(metric, []).append(value)
    return found
