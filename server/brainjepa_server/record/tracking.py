"""A study in MLflow: one run, a step a round; training never waits for it.

A round costs the same however many sites there are: MLflow gets quantities over the sites, and each
site's own figures at the end of the run, in ``rounds.jsonl`` among its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from brainjepa_core.pretraining.schedules import ScheduleSettings, values_at
from brainjepa_core.tracking.about import Data
from brainjepa_core.tracking.tracker import LONGEST_KEY, Tracker, metric_part
from brainjepa_server.record.fields import Number
from brainjepa_server.record.history import (
    FEDERATED,
    ROUNDS,
    SUMMARY,
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
)

BASELINE_OF = "baseline of"  # tag of a run: the study's run whose models it stands beside
MARKER = "loss"  # logged last: where it is, the round is complete


class StudyTracker(Tracker):
    """Writes a study to MLflow.

    The run's id is kept in ``FOLDER/mlflow_run.txt``, so that a study that is resumed continues
    its run. No method raises. Parameters and attributes as of `Tracker`.
    """

    trouble = (
        "MLflow could not {doing} ({error}); training goes on, and summary.json and report.html "
        "stay complete. Check {where}, then resume to log the rounds to come"
    )

    def __init__(self, folder: str | Path, client: Callable[[str], Any] | None = None) -> None:
        super().__init__(folder, client)
        self._logged: dict[int, float] = {}
        self._settings: Mapping[str, Any] = {}

    def start(
        self, study: str, settings: Mapping[str, Any], tags: Mapping[str, str] | None = None
    ) -> str | None:
        """Begin the study's run, or continue it after a crash.

        Parameters
        ----------
        study : str
            Name of experiment and run.
        settings : mapping
            Nested; flattened to dotted names, and cut where longer than MLflow allows.
        tags : mapping of str to str, optional
            Such as versions.

        Returns
        -------
        str or None
            The run's id; None if MLflow failed.
        """
        self._guard("start the run", lambda: self._start(study, settings, tags or {}))
        self.watch_machine()
        return self.run_id

    def log_sites(self, history: RunHistory) -> None:
        """Say whose scans are behind the run, with counts as sites round them."""
        known = history.told
        self.log_data(
            [
                Data(
                    site,
                    fingerprint,
                    known[site].people if site in known else None,
                    known[site].scans if site in known else None,
                )
                for site, fingerprint in history.stores.items()
            ]
        )

    def log_round(self, record: RoundRecord) -> None:
        """Log a round's numbers at step ``record.number``; a repeat with the same loss is no-op."""
        self._in_run("log a round", lambda: self._log_round(record))

    def log_baselines(self, history: RunHistory) -> None:
        """Log each model that a study is compared with as a run of its experiment, once."""
        if history.baselines:
            self._guard("log the baselines", lambda: self._log_baselines(history))

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED, with what the study has recorded by then."""
        for name in (SUMMARY, ROUNDS):
            if (self.folder / name).exists():
                self.log_file(self.folder / name)
        super().finish(status)

    def _start(self, study: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._settings = settings
        run = self._go_on(study, study)
        self._describe(
            run, settings, tags, f"The study {study}: models of several sites, averaged."
        )
        if MARKER in run.data.metrics:
            history = self._client.get_metric_history(self.run_id, MARKER)
            self._logged = {metric.step: metric.value for metric in history}

    def _log_baselines(self, history: RunHistory) -> None:
        ours, study = self.run_id, self._noted
        if study is None:
            return
        self._connect()
        if (run := self._found(study)) is None:
            return
        known = {one.info.run_name: one for one in self._baselines(run.info.experiment_id, study)}
        try:
            for model in dict.fromkeys(r.model for r in history.baselines if r.model != FEDERATED):
                rows = [row for row in history.baselines if row.model == model]
                found = {n: v for n, v in yardstick_metrics(rows).items() if v is not None}
                before = known.get(model)
                if before is not None and _is_told(before, found):
                    continue
                run = self._begin(history.name, model, before.info.run_id if before else None)
                about = f"{model}, by the yardstick of the study {history.name}."
                self._describe(run, {}, {BASELINE_OF: study}, about)
                self._log_metrics(found)
                self._client.set_terminated(self.run_id)
        finally:
            self.run_id = ours

    def _baselines(self, experiment: str, study: str) -> Iterator[Any]:
        """Runs of the models that a study's run stands beside."""
        beside, token = f"tags.`{BASELINE_OF}` = '{study}'", None
        while True:
            page = self._client.search_runs([experiment], beside, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _rate(self, record: RoundRecord) -> dict[str, float]:
        """The learning rate of the round's last step, where the settings have a schedule."""
        if "pretraining" not in self._settings:
            return {}
        schedule = ScheduleSettings(**self._settings["pretraining"]["training"]["schedule"])
        last = record.first_step + self._settings["rounds"]["local_steps"] - 1
        return {"learning_rate": values_at(schedule, last).lr}

    def _log_round(self, record: RoundRecord) -> None:
        loss = record.loss
        if loss is not None and self._logged.get(record.number) == loss:
            return
        self._log_metrics({**self._rate(record), **round_metrics(record)}, record.number)
        if loss is not None:
            self._logged[record.number] = loss


def _is_told(run: Any, found: Mapping[str, float]) -> bool:
    """Whether a run has ended with just these numbers."""
    return bool(run.info.status == "FINISHED" and run.data.metrics == found)


def round_metrics(record: RoundRecord) -> dict[str, float]:
    """A round's numbers under the names MLflow shows; what was not measured is left out.

    Global ones by plain name, those of the sites' replies as ``sites/NAME/median``, ``.../lowest``
    and ``.../highest``, R2 as `yardstick_metrics` says; the loss, if there is one, comes last.
    """
    found: dict[str, Number] = {
        "seconds": record.seconds,
        "seconds_beyond_sites": record.seconds_beyond_sites,
        "bytes_down": record.bytes_down,
        "bytes_up": record.bytes_up,
        "sites_used": len(record.sites),
        "sites_rejected": len(record.rejected),
        "sites_clipped": len(record.clipped),
    }
    for name, values in _of_sites(record.sites.values()).items():
        over = {"median": median(values), "lowest": min(values), "highest": max(values)}
        found |= {f"sites/{metric_part(name)}/{which}": value for which, value in over.items()}
    found |= yardstick_metrics(record.yardstick)
    found[MARKER] = record.loss
    return {key[:LONGEST_KEY]: float(value) for key, value in found.items() if value is not None}


def yardstick_metrics(rows: Iterable[YardstickRow]) -> dict[str, Number]:
    """R2 of one model, by names that are the same for every model: runs are compared by them.

    ``yardstick/POOL/OUTCOME`` (that of the sites' own probes as ``yardstick of own probes/...``),
    and the median site's as ``yardstick at sites/...``.
    """
    found: dict[str, Number] = {}
    for row in rows:
        kind = "yardstick of own probes" if row.own_probes else "yardstick"
        path = [metric_part(part) for part in (row.pool, row.outcome)]
        found["/".join((kind, *path))[:LONGEST_KEY]] = row.r2
        found["/".join(("yardstick at sites", *path))[:LONGEST_KEY]] = row.r2_at_sites
    return found


def _of_sites(sites: Iterable[SiteRecord]) -> dict[str, list[float]]:
    """Numbers of the sites' replies by name, those that are known."""
    found: dict[str, list[float]] = {}
    for site in sites:
        for name, value in (site.metrics | dict(site)).items():
            if name != "metrics" and value is not None:
                found.setdefault(name, []).append(value)
    return found
