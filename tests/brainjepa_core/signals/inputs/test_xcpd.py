"""XCP-D derivatives: every generation of names, atlases merged by name, frames that are gone."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs import xcpd
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem

ATLAS = load_atlas()
SPACE = "space-MNI152NLin2009cAsym"
GENERATIONS = (
    "atlas-{}_timeseries",
    "seg-{}_stat-mean_timeseries",
    "atlas-{}_stat-mean_timeseries",
)
EXTRAS = ["LH-Pu", "LH_Hippocampus", "Cerebellar_Region1"]
FOURS = [name.removeprefix("17Networks_") for name in ATLAS.rois[50:]] + EXTRAS
TIAN = [name.replace("-", "_") for name in ATLAS.rois[:50]]


class Run:
    """One run of a painted dataset; every ROI's series is its own row of `truth`."""

    def __init__(self, root: Path, run="sub-01_ses-2_task-rest_run-1", frames=12, seed=0) -> None:
        parts = dict(part.split("-") for part in run.split("_"))
        folders = [f"sub-{parts['sub']}", *([f"ses-{parts['ses']}"] if "ses" in parts else [])]
        self.folder = root.joinpath(*folders, "func")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.truth = np.random.default_rng(seed).standard_normal((450, frames))

    def path(self, rest: str) -> Path:
        return self.folder / f"{self.run}_{rest}"

    def series(self, atlas: str, names: list[str], form=GENERATIONS[2], space=SPACE, values=None):
        if values is None:
            values = self.truth[50:] if names is FOURS else self.truth[:50]
            values = np.concatenate([values, np.ones((len(names) - len(values), values.shape[1]))])
        table = pd.DataFrame(values.T, columns=names)
        name = f"{space}_{form.format(atlas)}.tsv"
        table.to_csv(self.path(name), sep="\t", na_rep="n/a", index=False)
        return self.path(name)

    def both(self, form=GENERATIONS[2], space=SPACE) -> Run:
        self.series("4S456Parcels", FOURS, form, space)
        self.series("Tian", TIAN, form, space)
        return self

    def motion(self, fd: list[float], moved: list[int]) -> Run:
        pd.DataFrame({"trans_x": fd, "framewise_displacement": fd}).to_csv(
            self.path("motion.tsv"), sep="\t", index=False, na_rep="n/a"
        )
        pd.DataFrame({"framewise_displacement": moved}).to_csv(
            self.path("outliers.tsv"), sep="\t", index=False
        )
        return self


def found(root: Path, tr: float | None = 2.0, **more):
    return xcpd.find(InputSettings(kind="xcpd", folder=root, tr=tr, **more), ATLAS)


@pytest.mark.parametrize("form", GENERATIONS)
def test_every_generation_of_names(tmp_path, form):
    root = tmp_path / "xcp_d-0.7.1"  # a dot that some indexers stumble over
    run, other = Run(root).both(form), Run(root, "sub-Zoë_task-rest", seed=1).both(form)
    run.series("Gordon", ["a", "b"], form, values=np.ones((2, 12)))
    run.path(f"{SPACE}_{form.format('4S456Parcels')}.json").write_text(
        '{"SamplingFrequency": "TR"}'
    )
    run.path(f"{SPACE}_desc-denoised_bold.json").write_text('{"RepetitionTime": 0.8}')
    run.path(f"{SPACE}_seg-4S456Parcels_stat-alff_bold.tsv").write_text("no series")
    scans, problems = found(root, tr=None)
    assert problems == []
    assert [scan.key for scan in scans] == [
        ("sub-01", "2", "task-rest_run-1"),
        ("sub-Zoë", "", "task-rest"),
    ]
    assert (scans[0].check().frames, scans[0].check().tr) == (12, 0.8)
    raw = pickle.loads(pickle.dumps(scans[0])).read()
    assert np.array_equal(raw.series, run.truth) and np.isnan(raw.coverage).all()
    assert raw.details == {} and raw.fd is None and raw.tr == 0.8
    assert np.array_equal(found(root)[0][1].read().series, other.truth)
    with pytest.raises(ScanProblem, match=r"repetition time .* found none; .*or say input.tr"):
        scans[1].check()
    assert found(root, task="rest")[0] and not found(root, task="nback")[0]


def test_other_sizes_of_the_4s_atlas_are_passed_over(tmp_path):
    """Their parcels have the same names, and are others."""
    run = Run(tmp_path).both()
    noise = np.full((103, 12), 99.0)
    run.series("4S156Parcels", [*FOURS[:100], *EXTRAS], values=noise)
    larger = [*FOURS, *(f"LH_Vis_{i}" for i in range(40, 80))]
    run.series("4S1056Parcels", larger, values=np.full((len(larger), 12), 99.0))
    (scan,), _ = found(tmp_path)
    assert [file.name.split("_")[5] for file in scan.series] == ["atlas-4S456Parcels", "atlas-Tian"]
    assert np.array_equal(scan.read().series, run.truth)


def test_the_first_of_two_atlases_gives_an_roi_unless_it_misses_it(tmp_path):
    run = Run(tmp_path)
    seen = run.truth.copy()
    seen[50], seen[51] = np.nan, 0  # some versions write 0 for what was not covered
    run.series("4S456Parcels", FOURS, values=np.concatenate([seen[50:], np.ones((3, 12))]))
    both = ["LH_Vis_3", *TIAN]
    run.series("Tian", both, values=np.concatenate([run.truth[50:51] + 5, run.truth[:50]]))
    (scan,), _ = found(tmp_path)
    raw = scan.read()
    assert np.array_equal(raw.series[50], run.truth[50] + 5)
    assert np.isnan(raw.series[51]).all() and raw.coverage[51] == 0
    assert np.array_equal(raw.series[52:], run.truth[52:])


@pytest.mark.parametrize("name", ["atlas-{}_stat-coverage_bold.tsv", "atlas-{}_coverage.tsv"])
def test_coverage_tables(tmp_path, name):
    run = Run(tmp_path).both()
    table = pd.DataFrame({"coverage": np.r_[0.9, 0.4, np.ones(401)]}, index=FOURS)
    table.to_csv(run.path(f"{SPACE}_{name.format('4S456Parcels')}"), sep="\t", index_label="Node")
    raw = found(tmp_path)[0][0].read()
    assert raw.coverage[50:53].tolist() == [0.9, 0.4, 1] and np.isnan(raw.coverage[:50]).all()
    assert np.isnan(raw.series[51]).all() and np.isfinite(raw.series[50]).all()
    run.path(f"{SPACE}_{name.format('Tian')}").write_text("Node\tcoverage\tx\na\t1\t2\n")
    with pytest.raises(ScanProblem, match="expected columns Node and coverage, found 2 columns"):
        found(tmp_path)[0][0].read()


def test_frames_that_are_gone_and_frames_that_are_interpolated(tmp_path):
    fd = [float("nan"), *np.linspace(0.1, 0.5, 14)]
    moved = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]
    kept = ~np.array(moved, bool)
    whole = np.r_[0, fd[1:]]
    linc = Run(tmp_path / "linc", frames=12).both().motion(fd, moved)
    raw = found(tmp_path / "linc")[0][0].read()
    assert raw.details == {"CensoredFramesDropped": 3} and raw.keep is None
    assert raw.censored == 3 / 15
    assert np.array_equal(raw.fd, whole[kept]) and raw.series.shape[1] == 12
    linc.path("outliers.tsv").unlink()
    raw = found(tmp_path / "linc")[0][0].read()
    assert raw.details == {"CensoredFramesDropped": 3} and raw.fd is None  # which ones?

    Run(tmp_path / "abcd", frames=15).both().motion(fd, moved)
    raw = found(tmp_path / "abcd")[0][0].read()
    assert raw.details == {"CensoredFramesInterpolated": 3}
    assert np.array_equal(raw.fd, whole) and np.array_equal(raw.keep, kept)

    Run(tmp_path / "still", frames=15).both().motion(fd, [0] * 15)
    raw = found(tmp_path / "still")[0][0].read()
    assert raw.details == {} and raw.censored == 0 and np.array_equal(raw.fd, whole)

    Run(tmp_path / "odd", frames=13).both().motion(fd, moved)
    text = "found 13 frames, and 15 in the tables, 3 of them outliers; copy series and motion"
    with pytest.raises(ScanProblem, match=text):
        found(tmp_path / "odd")[0][0].read()
    run = Run(tmp_path / "column", frames=15).both()
    run.path("motion.tsv").write_text("a\tb\n" + "1\t2\n" * 15)
    with pytest.raises(ScanProblem, match=r"motion.tsv: expected a column framewise_displacement"):
        found(tmp_path / "column")[0][0].read()


def test_spaces(tmp_path):
    run = Run(tmp_path).both(space="space-fsLR").both()
    (scan,), _ = found(tmp_path)
    assert all(SPACE in file.name for file in scan.series)
    assert "fsLR" in found(tmp_path, space="fsLR")[0][0].series[0].name
    scans, (problem,) = found(tmp_path, space="MNI152NLin6Asym")
    assert scans == [] and "found spaces MNI152NLin2009cAsym, fsLR; choose one" in str(problem)
    for file in run.folder.glob("*fsLR*"):
        file.unlink()
    assert len(found(tmp_path, space="MNI152NLin6Asym")[0]) == 1  # the only one there is
    run.both(GENERATIONS[1])
    assert "expected one time series an atlas, found two of one atlas" in str(found(tmp_path)[1][0])


def test_runs_that_were_joined_are_not_taken_twice(tmp_path):
    Run(tmp_path, "sub-01_task-rest_run-1").both()
    Run(tmp_path, "sub-01_task-rest_run-2").both()
    Run(tmp_path, "sub-01_task-rest", frames=24).both()
    Run(tmp_path, "sub-02_task-rest").both()
    assert [scan.key[::2] for scan in found(tmp_path)[0]] == [
        ("sub-01", "task-rest_run-1"),
        ("sub-01", "task-rest_run-2"),
        ("sub-02", "task-rest"),
    ]


def test_what_keeps_a_run_out(tmp_path):
    Run(tmp_path, "sub-01").series("Gordon", ["a", "b"], values=np.ones((2, 12)))
    Run(tmp_path, "sub-02").both()
    shorter = Run(tmp_path, "sub-03").both()
    shorter.series("Tian", TIAN, values=shorter.truth[:50, :9])
    headless = Run(tmp_path, "sub-04").both()
    np.savetxt(headless.series("Tian", TIAN), headless.truth[:50].T, delimiter="\t")
    scans, (problem,) = found(tmp_path)
    assert "found atlases Gordon; run XCP-D with --atlases 4S456Parcels Tian" in str(problem)
    errors = {}
    for scan in scans:
        for step in (scan.check, scan.read):
            try:
                step()
            except ScanProblem as caught:
                errors.setdefault(scan.subject, []).append(str(caught))
    assert [len(same) for same in errors.values()] == [2, 2] and "sub-02" not in errors
    assert "expected 12 frames, as with the other atlas, found 9;" in errors["sub-03"][0]
    assert "in the first line, found numbers only; run XCP-D 0.4 or later" in errors["sub-04"][0]


@given(st.binary(max_size=80) | st.text("0123.\tLHVis_\n", max_size=60).map(str.encode), st.data())
def test_garbage_raises_nothing_but_problems(tmp_path_factory, content, data):
    run = Run(tmp_path_factory.mktemp("xcpd")).both().motion([0.1] * 12, [0] * 12)
    run.path(f"{SPACE}_atlas-Tian_stat-coverage_bold.tsv").write_text("Node\tcoverage\n")
    run.path(f"{SPACE}_atlas-Tian_stat-mean_timeseries.json").write_text(json.dumps({}))
    file = data.draw(st.sampled_from(sorted(run.folder.iterdir())))
    file.write_bytes(content)
    scans, problems = found(run.folder.parents[2], tr=None)
    for scan in scans:
        for step in (scan.check, scan.read):
            try:
                step()
            except ScanProblem as problem:
                problems.append(problem)
    assert problems and all(": expected " in str(problem) for problem in problems)
