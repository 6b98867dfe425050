"""XCP-D derivatives: every generation of names, atlases merged by name, frames that are gone."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs.xcpd import scans as xcpd
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, UnusableProblem

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


def test_compressed_tables(tmp_path):
    run = Run(tmp_path).both().motion([0.1] * 12, [0] * 12)
    for file in run.folder.glob("*.tsv"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    (scan,), problems = found(tmp_path)
    assert problems == [] and scan.check().frames == 12
    assert np.array_equal(scan.read().series, run.truth) and scan.read().fd[1] == 0.1


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
    text = "13 frames, and 15 in the tables, outliers among them: 3 by framewise_displacement; copy"
    with pytest.raises(ScanProblem, match=text):
        found(tmp_path / "odd")[0][0].read()
    run = Run(tmp_path / "column", frames=15).both()
    run.path("motion.tsv").write_text("a\tb\n" + "1\t2\n" * 15)
    with pytest.raises(ScanProblem, match=r"motion.tsv: expected a column framewise_displacement"):
        found(tmp_path / "column")[0][0].read()


FLAGS = {  # of 15 frames, by column
    "framewise_displacement": [2],
    "dvars": [11],
    "denoising": [2, 3, 11],
    "framewise_displacement_interpolation": [2],
    "dvars_interpolation": [11, 14],
    "interpolation": [2, 3, 4, 11, 14],
}


def outliers(run: Run, columns: dict[str, list[int]], frames=15) -> None:
    table = {
        name: np.isin(np.arange(frames), places).astype(int) for name, places in columns.items()
    }
    pd.DataFrame(table).to_csv(run.path("outliers.tsv"), sep="\t", index=False)


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        (list(FLAGS), [2, 3, 4, 11, 14]),
        ([*FLAGS, "exact_5"], [2, 3, 4, 11, 14]),
        (["framewise_displacement", "dvars", "denoising"], [2, 3, 11]),
        (["framewise_displacement", "dvars"], [2, 11]),
        (["framewise_displacement"], [2]),
        (["framewise_displacement", "exact_5"], [2]),
    ],
)
def test_columns_of_outliers(tmp_path, names, gone):
    """Whichever columns a version of XCP-D wrote, what was censored in the end counts."""
    kept = np.setdiff1d(np.arange(15), gone)
    columns = {name: FLAGS.get(name, [5, 6]) for name in names}
    outliers(Run(tmp_path / "abcd", frames=15).both().motion([0.1] * 15, [0] * 15), columns)
    raw = found(tmp_path / "abcd")[0][0].read()
    assert raw.details == {"CensoredFramesInterpolated": len(gone)}
    assert np.flatnonzero(~raw.keep).tolist() == gone
    fd = [0.0, *np.linspace(0.1, 0.5, 14)]
    outliers(Run(tmp_path / "linc", frames=len(kept)).both().motion(fd, [0] * 15), columns)
    raw = found(tmp_path / "linc")[0][0].read()
    assert raw.details == {"CensoredFramesDropped": len(gone)} and raw.keep is None
    assert np.array_equal(raw.fd, np.array(fd)[kept])


def test_a_series_that_only_the_regression_censored(tmp_path):
    """Without thresholds for the end, what the regression left out is interpolated still."""
    columns = {**FLAGS, "interpolation": []}
    outliers(Run(tmp_path / "abcd", frames=15).both().motion([0.1] * 15, [0] * 15), columns)
    assert np.flatnonzero(~found(tmp_path / "abcd")[0][0].read().keep).tolist() == [2, 3, 11]
    outliers(Run(tmp_path / "linc", frames=12).both().motion([0.1] * 15, [0] * 15), columns)
    assert found(tmp_path / "linc")[0][0].read().details == {"CensoredFramesDropped": 3}
    outliers(Run(tmp_path / "odd", frames=13).both().motion([0.1] * 15, [0] * 15), FLAGS)
    text = (
        "found 13 frames, and 15 in the tables, outliers among them: 5 by interpolation, 3 by den"
    )
    with pytest.raises(ScanProblem, match=text):
        found(tmp_path / "odd")[0][0].read()


@pytest.mark.parametrize("column", ["interpolation", "framewise_displacement"])
def test_a_scan_of_outliers_alone_cannot_be_used(tmp_path, column):
    run = Run(tmp_path, frames=15).both().motion([0.9] * 15, [0] * 15)
    outliers(run, {column: list(range(15))})
    text = (
        r"outliers.tsv: expected frames that are no outliers, found none of 15; leave the scan out"
    )
    with pytest.raises(UnusableProblem, match=text):
        found(tmp_path)[0][0].read()


@pytest.mark.parametrize(
    ("table", "content", "text"),
    [
        (
            "motion.tsv",
            "framewise_displacement\n" + "0,2\n" * 15,
            "a decimal comma in line 2",
        ),
        ("motion.tsv", "a\tframewise_displacement\n" + "1\t1_0\n" * 15, "found text in line 2"),
        ("motion.tsv", "framewise_displacement\n" + "0.1\nn/a\n" + "0.1\n" * 13, "found 1 of 15"),
        (
            "motion.tsv",
            "framewise_displacement\t Framewise_displacement\n" + "0.1\t0.9\n" * 15,
            "a column framewise_displacement, found 2 of them",
        ),
        (
            "outliers.tsv",
            "interpolation\n" + "0\n" * 14 + "n/a\n",
            "0 or 1 of every frame in column",
        ),
    ],
)
def test_motion_is_never_guessed(tmp_path, table, content, text):
    run = Run(tmp_path, frames=15).both().motion([0.1] * 15, [0] * 15)
    run.path(table).write_text(content)
    with pytest.raises(ScanProblem, match=f"{table}: expected .*{text}"):
        found(tmp_path)[0][0].read()


def test_motion_that_is_known_of_no_frame_is_unknown(tmp_path):
    run = Run(tmp_path, frames=15).both()
    run.path("motion.tsv").write_text("framewise_displacement\n" + "n/a\n" * 15)
    assert found(tmp_path)[0][0].read().fd is None


def test_spaces(tmp_path):
    run = Run(tmp_path).both(space="space-fsLR").both()
    (scan,), _ = found(tmp_path)
    assert all(SPACE in file.name for file in scan.series)
    assert "fsLR" in found(tmp_path, space="fsLR")[0][0].series[0].name
    scans, (problem,) = found(tmp_path, space="MNI152NLin6Asym")
    assert scans == [] and problem.found == "2 versions"
    assert problem.mend == "choose one with input.space (MNI152NLin2009cAsym or fsLR)"
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


def test_the_site_chooses_of_two_resolutions(tmp_path):
    run = Run(tmp_path)
    for res in ("1", "2"):
        run.both(space=f"{SPACE}_res-{res}")
    scans, (problem,) = found(tmp_path)
    assert scans == [] and problem.mend == "choose one with input.res (1 or 2)"
    for res, share in (("1", 1.0), ("2", 0.7)):
        table = pd.DataFrame({"Node": FOURS, "coverage": share})
        name = f"{SPACE}_res-{res}_atlas-4S456Parcels_stat-coverage_bold.tsv"
        table.to_csv(run.path(name), sep="\t", index=False)
    (scan,), problems = found(tmp_path, res="1")
    assert [file.name for file in scan.coverage] == [run.path(name.replace("2_at", "1_at")).name]
    (scan,), problems = found(tmp_path, res="2")
    assert problems == [] and all("_res-2_" in file.name for file in scan.series)
    scans, (problem,) = found(tmp_path, res="native")
    assert scans == [] and problem.mend == "choose one with input.res (1 or 2)"


def test_the_site_chooses_of_two_cohorts(tmp_path):
    for cohort in ("1", "2"):
        Run(tmp_path).both(space=f"space-MNIInfant_cohort-{cohort}")
    assert found(tmp_path)[1][0].mend == "choose one with input.cohort (1 or 2)"
    assert len(found(tmp_path, cohort="1")[0]) == 1
