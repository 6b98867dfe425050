"""A study from its first message to its last: members, consensus, rounds, the final model."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flwr.serverapp import Grid

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.version import VERSION
from brainjepa_core.wire.messages import GRADIENTS
from brainjepa_server.combining.consensus import build_consensus
from brainjepa_server.combining.outer import OuterOptimizer
from brainjepa_server.combining.validation import safe
from brainjepa_server.progress import StudyProgress
from brainjepa_server.record import figures
from brainjepa_server.record.history import (
    FEDERATED,
    RANDOM,
    START,
    SUMMARY,
    BasisFacts,
    RoundRecord,
    RunHistory,
    YardstickRow,
    read_history,
    write_history,
)
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.rounds.checkpoint import (
    RoundState,
    read_newest,
    read_round,
    require_same,
    round_folders,
    write_round,
)
from brainjepa_server.rounds.joining import Members, gather, join_late
from brainjepa_server.rounds.round import (
    Evaluated,
    Weights,
    chosen_sites,
    evaluate,
    train_round,
)
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import COMPONENTS, StudySettings
from brainjepa_server.starting import Start, read_start, weights_of
from brainjepa_server.study_folder import BASIS_FILE, BEST, FINAL, LOCK, STUDY_FILE, SUM_FILE


class Study:
    """The coordinator's side of a study in one folder.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    settings : StudySettings
    folder : path
        Gets ``basis.npz``, ``connectivity_sum.npz``, ``rounds/``, ``summary.json``, MLflow's
        files, and at the end ``final`` and ``best``.
    progress : StudyProgress
    """

    def __init__(
        self, grid: Grid, settings: StudySettings, folder: Path, progress: StudyProgress
    ) -> None:
        self.grid, self.settings, self.folder = grid, settings, Path(folder)
        self.progress = progress
        self.tracker = StudyTracker(self.folder)
        self.history = RunHistory(
            name=settings.name,
            total_rounds=settings.total_rounds,
            settings=settings.model_dump(mode="json"),
            versions={"brainjepa-federated": VERSION, "torch": torch.__version__},
        )

    def run(self) -> None:
        """Run all rounds that are missing.

        Raises
        ------
        ValueError
            If too few sites or people are there, the folder holds another study, or another
            coordinator is at work in it.
        """
        with only_one(self.folder / LOCK):
            self._run()

    def _run(self) -> None:
        members = gather(self.grid, self.settings)
        self.progress.members(members)
        stores = {
            name: safe(str(about.get("store_fingerprint")))
            for name, about in sorted(members.about.items())
        }
        self.history = self.history.having(stores=stores)
        tags = {f"store of {name}": fingerprint for name, fingerprint in stores.items()}
        self.tracker.start(
            self.settings.name, self.history.settings, {**self.history.versions, **tags}
        )
        finished = False
        try:
            self._agree(members)
            state = self._first_state(members)
            for number in range(state.round, self.settings.total_rounds):
                join_late(self.grid, members, self.settings)
                state = self._round(members, state, number)
            self._finish(members, state)
            finished = True
        finally:
            self.tracker.finish("FINISHED" if finished else "FAILED")

    def _agree(self, members: Members) -> None:
        """The consensus: read where it was made before, else summed over the members."""
        if (self.folder / BASIS_FILE).exists():
            self.basis = ConsensusBasis.load(self.folder / BASIS_FILE)
            self.basis.require_rois(members.rois)
            total = ConnectivitySum.load(self.folder / SUM_FILE)
            past = read_history(self.folder)
            require_same(past.settings, self.history.settings, SUMMARY)
            self.history = self.history.having(basis=past.basis)
        else:
            sites = Sites(self.grid, members.nodes)
            answers = sites.ask(
                GRADIENTS,
                self.settings.assignment(),
                {},
                sorted(members.nodes),
                self.settings.rounds.deadline,
            )
            found = build_consensus(
                {answer.site: answer.reply for answer in answers},
                members.rois,
                self.settings.floors,
                self.settings.pretraining.basis,
            )
            start = self._start(members)
            self.basis, total = start.basis if start else found.basis, found.total
            self.history = self.history.having(
                basis=BasisFacts(
                    hash=self.basis.hash,
                    eigenvalues=tuple(self.basis.eigenvalues.tolist()),
                    eigengaps=tuple(self.basis.eigengaps.tolist()),
                    sites=len(found.sites),
                    subjects=total.subjects,
                )
            )
            write_history(self.folder, self.history)
            total.save(self.folder / SUM_FILE)
            self.basis.save(self.folder / BASIS_FILE)  # last: its presence says all is there
            self.progress.consensus(found, self.basis)
        rank = min(COMPONENTS, len(members.rois))
        self.mean_fc = total.mean_fc()
        self.components = connectivity_components(self.mean_fc, rank)

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
            past = read_history(self.folder)
            self.history = self.history.having(
                basis=past.basis,
                baselines=past.baselines,
                rounds=tuple(RoundRecord.model_validate(r) for r in state.history),
            )
            self.progress.resumed(state.round)
            for record in self.history.rounds:
                self.tracker.log_round(record)
            return state
        zeros = {RANDOM: weights_of(self.settings.pretraining.new_model(self.basis))}
        start = self._start(members)
        if start is not None:
            zeros[START] = start.weights
        for model, weights in zeros.items():
            rows, drift, rejected = self._evaluate(members, weights, 0, model)
            assert self.history.basis is not None
            facts = self.history.basis.model_copy(update={"drift": drift})
            baselines = (*self.history.baselines, *rows)
            self.history = self.history.having(basis=facts, baselines=baselines)
            self.progress.evaluated(model, rows, rejected)
        write_history(self.folder, self.history)
        return RoundState(0, weights, {}, self.settings, self.basis.hash)

    def _round(self, members: Members, state: RoundState, number: int) -> RoundState:
        roles = self.settings.pretraining.model_family.model.roles
        outer = OuterOptimizer(self.settings.aggregation.outer, roles)
        outer.load(state.outer, state.weights)
        asked = chosen_sites(self.settings, list(members.nodes), number)
        with self.progress.round(number, len(asked)) as heard:
            weights, record = train_round(
                Sites(self.grid, members.nodes),
                self.settings,
                number,
                state.weights,
                self._basis32,
                outer,
                heard,
            )
        last = number + 1 == self.settings.total_rounds
        score = None
        if last or (number + 1) % self.settings.rounds.evaluate_every == 0:
            rows, drift, unjudged = self._evaluate(members, weights, number, FEDERATED)
            sites = {
                name: site.model_copy(update={"drift": drift.get(name)})
                for name, site in record.sites.items()
            }
            record = record.model_copy(
                update={"yardstick": tuple(rows), "sites": sites, "unjudged": unjudged}
            )
            score = score_of(rows)
        self.history = self.history.with_round(record)
        state = replace(
            state,
            round=number + 1,
            weights=weights,
            outer=outer.state,
            history=[r.model_dump(mode="json") for r in self.history.rounds],
            run_id=self.tracker.run_id or "",
            score=score,
        )
        write_round(self.folder, state)
        write_history(self.folder, self.history)
        self.tracker.log_round(record)
        self.progress.finished(record)
        return state

    def _evaluate(self, members: Members, weights: Weights, number: int, model: str) -> Evaluated:
        sites = Sites(self.grid, members.nodes)
        return evaluate(
            sites, self.settings, number, weights, self._basis32, self.components, model
        )

    @property
    def _basis32(self) -> Float32:
        return self.basis.gradients.astype(np.float32)

    def _finish(self, members: Members, state: RoundState) -> None:
        """Write ``final`` (the last round) and ``best`` (the best by the yardstick)."""
        best = best_of(self.history.rounds)
        rows = best.yardstick if best else ()
        kept = tuple(row for row in self.history.baselines if row.model != FEDERATED)
        self.history = self.history.having(
            best_round=best.number if best else None, baselines=(*rows, *kept)
        )
        write_history(self.folder, self.history)
        self._write_model(FINAL, members, state.weights)
        for path in round_folders(self.folder):
            if best and path.name == f"round-{best.number + 1:06d}":
                found = read_round(path, self.settings, self.basis.hash)
                self._write_model(BEST, members, found.weights)
        self._publish()

    def _publish(self) -> None:
        """What MLflow keeps besides numbers: pictures, settings, basis, models."""
        self.tracker.log_figure(figures.consensus(self.basis, self.mean_fc), "consensus")
        self.tracker.log_figure(figures.losses(self.history.rounds), "losses")
        for name in (SUMMARY, STUDY_FILE, BASIS_FILE):
            if (self.folder / name).exists():
                self.tracker.log_file(self.folder / name)
        for path in sorted((self.folder / BEST).glob("*")):
            self.tracker.log_file(path, BEST)
        self.tracker.register_model(self.settings.name, self.folder / FINAL)

    def _write_model(self, name: str, members: Members, weights: Weights) -> None:
        model = self.settings.pretraining.new_model(self.basis)
        arrays = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
        model.load_state_dict({**arrays, "basis": model.basis})
        path = self.folder / name
        if path.exists():
            shutil.rmtree(path)
        write_model(
            path,
            model,
            Provenance(
                atlas=members.atlas,
                rois=members.rois,
                basis_hash=self.basis.hash,
                signals=self.settings.pretraining.windows.model_dump(exclude={"short"}),
            ),
        )


def score_of(rows: list[YardstickRow] | tuple[YardstickRow, ...]) -> float | None:
    """What rounds are compared by: R2 of the connectivity components from the headline pool."""
    found = [r.r2 for r in rows if r.pool == HEADLINE and r.outcome == "connectivity"]
    return found[0] if found else None


def best_of(rounds: Sequence[RoundRecord]) -> RoundRecord | None:
    """The round with the highest score, the earliest of equals; None where none has one."""
    scored = [(score, r) for r in rounds if (score := score_of(r.yardstick)) is not None]
    return max(scored, key=lambda found: found[0])[1] if scored else None


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends, however it ends.

    Raises
    ------
    ValueError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                "expected to be the only coordinator of this folder, found another at work in it; "
                "wait for it, or stop it"
            ) from error
        yield
