"""A study from its first message to its last: members, consensus, rounds, final model, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flwr.serverapp import Grid

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.files import lone_writer
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.version import VERSION
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import told_round
from brainjepa_server.combining.outer import OuterOptimizer
from brainjepa_server.combining.validation import safe
from brainjepa_server.finishing import publish, write_day_one, write_models
from brainjepa_server.progress import StudyProgress
from brainjepa_server.record.best import best_of
from brainjepa_server.record.history import (
    FEDERATED,
    RANDOM,
    ROUNDS,
    START,
    SUMMARY,
    TOLD_BY_SITES,
    RoundRecord,
    RunHistory,
    Told,
    append_round,
    write_history,
    write_summary,
)
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.reporting.study_card import write_cards
from brainjepa_server.rounds.agreeing import consensus, facts_of
from brainjepa_server.rounds.checkpoint import RoundState, read_newest, recorded, write_round
from brainjepa_server.rounds.joining import Door, Members, await_quorum, gather, join_late
from brainjepa_server.rounds.received import ReceivedLog
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost, tried
from brainjepa_server.rounds.round import (
    Evaluated,
    Heard,
    Weights,
    chosen_sites,
    dropped_round,
    evaluate,
    train_round,
)
from brainjepa_server.rounds.secure_sums import clear_sums
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import COMPONENTS, StudySettings
from brainjepa_server.starting import Start, read_start, weights_of
from brainjepa_server.study_folder import (
    BASIS_FILE,
    COSKEWNESS_FILE,
    LOCK,
    SUM_FILE,
    clear_study,
    task_report,
)
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.study_tasks import ask_tasks


class Study:
    """The coordinator's side of a study in one folder.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    settings : StudySettings
    folder : path
        Gets basis, connectivity, rounds, records, and at the end models and the tasks' reports.
    progress : StudyProgress
    nodes : int, optional
        How many nodes the grid has in all, where that is known.
    contract : Contract, optional
        What sites are asked by.
    admitted, stop : callable, optional
        As a `Door` takes it; asked before each round whether to stop there.
    """

    def __init__(
        self,
        grid: Grid,
        settings: StudySettings,
        folder: Path,
        progress: StudyProgress,
        nodes: int | None = None,
        contract: Contract | None = None,
        admitted: Callable[[], Mapping[int, str]] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self.folder = settings, Path(folder)
        self.received = ReceivedLog(self.folder, settings.name)
        self.door = Door(grid, settings, self.received, admitted, contract)
        self.nodes, self.stop, self.progress = nodes, stop, progress
        self.tracker = StudyTracker(self.folder)
        self.history = RunHistory(
            name=settings.name,
            total_rounds=settings.total_rounds,
            settings=settings.model_dump(mode="json"),
            versions={"brainjepa-federated": VERSION, "torch": torch.__version__},
            contract=contract.hash if contract else "",
        )

    def run(self) -> bool:
        """Run all rounds that are missing; False if it was asked to stop before its end.

        Raises
        ------
        ValueError
            If too few sites or people are there, or the folder holds another study.
        BlockingIOError
            If another coordinator is at work in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lone_writer(self.folder / LOCK, "the study in", wait=False):
            return self._run()

    def _run(self) -> bool:
        clear_study(self.folder)
        self.past = recorded(self.folder, self.history)
        kept = {told: getattr(self.past, told) for told in TOLD_BY_SITES}  # of who has left, too
        self.history = self.history.having(**kept)
        members = gather(self.door, self.past.site_names, self.nodes)
        self.progress.members(members)
        self._note(members)
        self.tracker.start(self.settings.name, self.history.settings, self.history.versions)
        self.tracker.log_sites(self.history)
        status = "FAILED"
        try:
            self._agree(members)
            state = self._first_state(members)
            for number in range(state.round, self.settings.total_rounds):
                if self.stop():
                    status = "KILLED"  # MLflow's word for it
                    self.progress.stopped(state.round)
                    return False
                join_late(self.door, members)
                state = self._tried_round(members, state, number)
            self._finish(members, state)
            if not self._ask_tasks(members, state):
                status = "KILLED"
                return False
            status = "FINISHED"
            return True
        finally:
            self.tracker.finish(status)

    def _note(self, members: Members) -> bool:
        """Record who takes part with which scans, and who does not; whether that is news."""
        about = sorted(members.about.items())
        stores = {name: safe(str(facts.get("store_fingerprint"))) for name, facts in about}
        told = {n: Told(people=c.subjects, scans=c.scans) for n, c in members.counts.items()}
        known = {"stores": self.history.stores | stores, "told": self.history.told | told}
        noted = self.history.having(**known, left_out=dict(members.left_out))
        news, self.history = noted != self.history, noted
        return news

    def _agree(self, members: Members) -> None:
        """The consensus: read where it was made before, else summed over the members."""
        if (self.folder / BASIS_FILE).exists():
            self.basis = ConsensusBasis.load(self.folder / BASIS_FILE)
            self.basis.require_rois(members.rois)
            total = ConnectivitySum.load(self.folder / SUM_FILE)
            facts = self.past.basis
            if facts is None or facts.hash != self.basis.hash:
                known = facts.hash[:12] if facts else "none"
                raise ValueError(
                    f"expected the basis {known} that {SUMMARY} records, found "
                    f"{self.basis.hash[:12]} in {BASIS_FILE}; put the study's own basis back, or "
                    "start in a new folder"
                )
            self.history = self.history.having(basis=facts)
        else:
            found = consensus(self._sites(members), self.settings, members)
            start = self._start(members)
            self.basis, total = start.basis if start else found.basis, found.total
            self.history = self.history.having(basis=facts_of(found, self.basis))
            write_history(self.folder, self.history)
            total.save(self.folder / SUM_FILE)
            if found.coskewness is not None:
                found.coskewness.total.save(self.folder / COSKEWNESS_FILE)
            self.basis.save(self.folder / BASIS_FILE)  # last: its presence says all is there
            self.progress.consensus(found, self.basis, summed=bool(self.settings.sums))
        self.mean_fc: Float64 | None = total.mean_fc()
        assert self.history.basis is not None
        made = self.folder, self.settings, self.basis, members, self.mean_fc, self.history.basis
        write_day_one(*made)
        rank = min(COMPONENTS, len(members.rois))
        self.components = connectivity_components(self.mean_fc, rank)
        self.roles = self.settings.pretraining.new_model(self.basis).roles

    def _start(self, members: Members) -> Start | None:
        """The model that the study starts from, if it names one."""
        if self.settings.start_from is None:
            return None
        return read_start(self.settings.start_from, self.settings.pretraining, members.rois)

    def _first_state(self, members: Members) -> RoundState:
        """The newest saved round, or the first weights, evaluated as the zero of the scale.

        That is random weights; a study that starts from a model has this one beside them.
        """
        state = read_newest(self.folder, self.settings, self.basis.hash)
        if state is not None:
            if len(self.past.rounds) < state.round:
                raise ValueError(
                    f"expected {state.round} rounds in {ROUNDS}, as many as were saved, found "
                    f"{len(self.past.rounds)}; restore the file from a copy, or start in a new "
                    "folder"
                )
            self.history = self.history.having(
                baselines=self.past.baselines,
                unjudged=self.past.unjudged,
                rounds=self.past.rounds[: state.round],  # later ones were not saved
            )
            write_history(self.folder, self.history)
            self.progress.resumed(state.round)
            for record in self.history.rounds:
                self.tracker.log_round(record)
            return state
        zeros = {RANDOM: weights_of(self.settings.pretraining.new_model(self.basis))}
        start = self._start(members)
        if start is not None:
            zeros[START] = start.weights
        for model, weights in zeros.items():
            rows, drift, rejected, _ = self._evaluate(members, weights, 0, model)
            assert self.history.basis is not None
            facts = self.history.basis.model_copy(update={"drift": drift})
            baselines = (*self.history.baselines, *rows)
            unjudged = {**self.history.unjudged, **({model: rejected} if rejected else {})}
            self.history = self.history.having(basis=facts, baselines=baselines, unjudged=unjudged)
            self.progress.evaluated(model, rows, rejected)
        write_history(self.folder, self.history)
        return RoundState(0, weights, {}, self.settings, self.basis.hash)

    def _tried_round(self, members: Members, state: RoundState, number: int) -> RoundState:
        """A round, tried again where too few sites answered; those that came since are asked."""

        def attempt() -> RoundState:
            if self._note(members):
                write_summary(self.folder, self.history)
            return self._round(members, state, number)

        def again(missed: QuorumMissed, left: int) -> None:
            self.progress.again(missed, left)
            join_late(self.door, members)
            await_quorum(self.door, members)

        try:
            return tried(attempt, self.settings.rounds.retries, again)
        except SumLost as lost:
            self.progress.dropped(told_round(number), lost)
            record = dropped_round(self.settings, number, members.nodes, lost)
            return self._keep(state, record, state.weights, state.outer)

    def _round(self, members: Members, state: RoundState, number: int) -> RoundState:
        asked = chosen_sites(self.settings, list(members.nodes), number)
        with self.progress.round(told_round(number), len(asked)) as heard:
            weights, record, outer = self._trained(members, state, number, heard)
        last = told_round(number) == self.settings.total_rounds
        if last or told_round(number) % self.settings.rounds.evaluate_every == 0:
            found = self._evaluate(members, weights, number, FEDERATED)
            sites = {
                name: site.model_copy(update={"drift": found.drift.get(name)})
                for name, site in record.sites.items()
            }
            told = {"unjudged": found.rejected, "not_read": found.not_read, "sites": sites}
            record = record.model_copy(update={"yardstick": tuple(found.rows), **told})
        return self._keep(state, record, weights, outer)

    def _trained(
        self, members: Members, state: RoundState, number: int, heard: Heard
    ) -> tuple[Weights, RoundRecord, Arrays]:
        """Weights after a round, what is known of it, and the outer optimiser's state."""
        outer = OuterOptimizer(self.settings.aggregation.outer, self.roles)
        outer.load(state.outer, state.weights)
        about = self.settings, number, state.weights, self._basis32, outer, heard
        weights, record = train_round(self._sites(members), *about)
        return weights, record, {**outer.state}

    def _keep(
        self, state: RoundState, record: RoundRecord, weights: Weights, outer: Arrays
    ) -> RoundState:
        """Write a round down; what the next one begins with."""
        self.history = self.history.with_round(record)
        append_round(self.folder, record)  # before the round: a line too many is cut by a resume
        state = replace(
            state,
            round=record.number,
            weights=weights,
            outer=outer,
            run_id=self.tracker.run_id or "",
        )
        best = best_of(self.history.rounds)
        write_round(self.folder, state, best.number if best else None)
        self.tracker.log_round(record)
        self.progress.finished(record)
        return state

    def _evaluate(self, members: Members, weights: Weights, number: int, model: str) -> Evaluated:
        sites, basis = self._sites(members), self._basis32
        return evaluate(sites, self.settings, number, weights, basis, self.components, model)

    def _sites(self, members: Members) -> Sites:
        about = members.counts, self.door.contract, self.received, members.networks
        admitted = self.door.admitted is not None  # sites with keys of their own, not virtual ones
        return Sites(self.door.grid, members.nodes, self.folder, *about, own_machines=admitted)

    @property
    def _basis32(self) -> Float32:
        return self.basis.gradients.astype(np.float32)

    def _finish(self, members: Members, state: RoundState) -> None:
        """Write ``final`` (the last round) and ``best`` (the best by the yardstick)."""
        best = best_of(self.history.rounds)
        rows = best.yardstick if best else ()
        rows += tuple(row for row in self.history.baselines if row.model != FEDERATED)
        number = best.number if best else None
        self.history = self.history.having(best_round=number, baselines=rows)
        write_summary(self.folder, self.history)
        made = self.folder, self.settings, self.basis, members, state, best, self.mean_fc
        write_models(*made)
        clear_sums(self.folder, self.settings.total_rounds)
        publish(self.tracker, self.folder, self.history, self.basis, self.mean_fc)

    def _ask_tasks(self, members: Members, state: RoundState) -> bool:
        """Ask the study's tasks of its final model; False if it was asked to stop before."""

        def told(report: TaskReport) -> None:
            self.progress.task(report)
            self.tracker.log_file(task_report(self.folder, report.task))
            write_cards(self.folder)

        if not self.settings.tasks:
            return True
        join_late(self.door, members)
        asked = self._sites(members), self.settings, self.folder, state.weights, self._basis32
        return ask_tasks(*asked, self.stop, told)
