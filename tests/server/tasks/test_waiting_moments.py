"""A task over more sites than fit in memory: one site's moments at a time, and the same bits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from task_sites import SETTINGS, SEX

from brainjepa_core.evaluation.common_probe import cross_fit, outcome_columns
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Group, Moments, fold_moments, moments_to_arrays
from brainjepa_core.sums.protocol import stacked, total
from brainjepa_core.wire.messages import TARGET, Assignment, Reply
from brainjepa_server.combining.validation import Counts
from brainjepa_server.combining.waiting.moments import WaitingMoments
from brainjepa_server.rounds.sites import Answer
from brainjepa_server.tasks.evaluation import evaluate_task
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask

POOL, PEOPLE, P, FOLDS = "mean", 12, 80, SETTINGS.folds
TASK = StudyTask(task=SEX, pools=(POOL,), parts=("probe",), penalty=5.0)


class MadeSites:
    """Sites whose people are made as they are asked; each tells moments of 150 kB."""

    def __init__(self, count: int, folder: Path, loud: str = "") -> None:
        self.nodes = {f"site-{number:03d}": number for number in range(count)}
        self.folder, self.loud, self.most_waiting = folder, loud, 0

    def people(self, site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.nodes[site])
        labels = (np.arange(PEOPLE) // FOLDS % 2).astype(float)
        features = rng.standard_normal((PEOPLE, P)) + 0.3 * labels[:, None]
        return features * (1e3 if site == self.loud else 1), labels, np.arange(PEOPLE) % FOLDS

    def moments(self, site: str) -> list[Moments]:
        x, y, folds = self.people(site)
        return fold_moments(x, outcome_columns(y, 2), folds, FOLDS)

    def ask(
        self, _: str, assignment: Assignment, arrays: dict, names: list[str], __: float
    ) -> Iterator[Answer]:
        for site in names:
            waiting = sum(path.stat().st_size for path in self.folder.glob("*/*"))
            self.most_waiting = max(self.most_waiting, waiting)
            reply = getattr(self, assignment.probe.want)(site, arrays)
            yield Answer(site, reply, 0, 0, Counts(PEOPLE, PEOPLE))

    def sums(self, site: str, _: dict) -> Reply:
        told = {Group(POOL, TARGET, fold): one for fold, one in enumerate(self.moments(site))}
        people = {"people": PEOPLE, "class.0": PEOPLE // 2, "class.1": PEOPLE // 2}
        return Reply(people, moments_to_arrays(told))

    def newton(self, site: str, arrays: dict) -> Reply:
        x, y, folds = self.people(site)
        centre, scale, trial = (arrays[f"probe.{POOL}.{n}"] for n in ("centre", "scale", "trial"))
        sums = [
            LogisticSums.of((x[k != folds] - centre[k]) * scale[k], y[k != folds], trial[k])
            for k in range(FOLDS + 1)
        ]
        return Reply({}, stacked(sums, f"probe.{POOL}."))

    def judge(self, *_: object) -> Reply:
        return Reply(refusal="not today")


def asked(sites: MadeSites) -> TaskReport:
    return evaluate_task(sites, SETTINGS, {}, np.zeros((8, 3), np.float32), TASK)


def test_memory_does_not_grow_with_sites_and_nothing_stays_on_disk(tmp_path):
    """Of 30 sites moments are 5 MB, of 6 they are 1; a fit's vectors grow by 10 kB a site."""
    peaks, tasks = [], {}
    for count in (6, 30):
        sites = MadeSites(count, tmp_path)
        tracemalloc.start()
        tasks[count] = asked(sites)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sites.most_waiting > count * FOLDS * P * P * 8
        assert tasks[count].probes[POOL].keys() == {"ridge", "logistic"}
    assert peaks[1] < 1.1 * peaks[0] + 1e6, peaks
    assert list(tmp_path.iterdir()) == []


def test_the_fits_are_to_the_bit_those_of_sums_in_memory(tmp_path):
    sites = MadeSites(9, tmp_path, loud="site-004")
    report = asked(sites)
    assert report.left_out["sums"].keys() == {"site-004"}
    kept = [sites.moments(name) for name in sorted(sites.nodes) if name != "site-004"]
    fitted = cross_fit([total(folds) for folds in zip(*kept, strict=True)])
    found = report.probes[POOL]["ridge"]
    assert found.people == fitted.people == 8 * PEOPLE
    for one, other in zip((found.probe, *found.fits), (fitted.final, *fitted.probes), strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.intercept, other.intercept)


def test_moments_come_back_as_they_went_in_order_of_name(tmp_path):
    sites = MadeSites(3, tmp_path)
    with WaitingMoments(tmp_path) as waiting:
        for name in reversed(list(sites.nodes)):
            waiting.take(name, sites.moments(name))
        assert list(waiting) == sorted(sites.nodes) and len(waiting) == 3
        for name, folds in waiting.items():
            for found, told in zip(folds, sites.moments(name), strict=True):
                assert type(found.n) is int and found.n == told.n
                for field in ("x_sum", "y_sum", "xx", "xy", "yy"):
                    assert np.array_equal(getattr(found, field), getattr(told, field))
        waiting.leave_out("site-001")
        assert list(waiting) == ["site-000", "site-002"]
    assert list(tmp_path.iterdir()) == []
