"""Problems that headers show, and only those, without opening a scan."""

from __future__ import annotations

import csv
import re

import pytest
from click import unstyle
from painted_sites import change, files_of, painted, site_of
from typer.testing import CliRunner

from brainjepa_client.cli import app
from brainjepa_client.preparing.validate import problems_as_tsv, validate
from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs.find import find_scans
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_simulations.painting.broken_scans import FAULTS


@pytest.fixture
def tree(tmp_path):
    return painted(tmp_path / "site")


def test_a_sound_site(tree):
    before = files_of(tree.folder)
    seen = []
    found = validate(site_of(tree), seen.append)
    assert (found.scans, found.people, found.trs, found.problems) == (6, 4, (2.0,), ())
    assert found.frames == sum(scan.truth.shape[1] for scan in tree.scans.values())
    assert found.without_row == 0 and seen == [6] * 6
    assert files_of(tree.folder) == before


def test_scans_that_a_rule_will_leave_out_are_told(tree):
    assert validate(site_of(tree)).notes == ()
    scans = len(tree.scans)
    change(tree, exclude={"mean_fd": 0.0001, "seconds": 9999})
    told = f"prepare will leave out {scans} scans of {scans}, by what headers and tables tell: "
    assert validate(site_of(tree)).notes == (
        f"{told}{scans} by exclude.mean_fd, {scans} by exclude.seconds",
    )
    _, *still = tree.scans.values()
    for scan in still:  # unknown is not known to be too much
        table = scan.confounds.read_text().replace("framewise_displacement", "fd")
        scan.confounds.write_text(table)
    change(tree, exclude={"mean_fd": 0.0001})
    (note,) = validate(site_of(tree)).notes
    assert note == told.replace(f"{scans} scans", "1 scan") + "1 by exclude.mean_fd"
    result = CliRunner().invoke(app, ["validate", str(tree.site)])
    assert result.exit_code == 0
    assert note in " ".join(unstyle(result.stdout).split())


def test_what_validate_tells_of_motion_is_what_prepare_finds(tree):
    found = find_scans(site_of(tree).preparation(), load_atlas(str(tree.atlas_table))).scans
    for scan in found:
        assert scan.told_fd() == pytest.approx(scan.read().fd[1:].mean(), rel=1e-12)
    table = found[0].confounds
    for text in (
        "",
        "a\tb\n1\t2\n",
        "framewise_displacement\nn/a\n0,1\n",
        "framewise_displacement\nn/a\nn/a\n",
        "a\tframewise_displacement\n1\tn/a\n1\n",
    ):
        table.write_text(text)
        assert found[0].told_fd() is None
    table.unlink()
    assert found[0].told_fd() is None


def test_people_whom_no_table_names(tree):
    rows = tree.participants.read_text().splitlines()
    tree.participants.write_text("\n".join(rows[:-1]) + "\n")
    for table in (tree.dataset / "phenotype").glob("*"):
        table.unlink()
    assert validate(site_of(tree)).without_row == 1


@pytest.mark.parametrize("fault", ["one_frame", "tr_in_milliseconds", "missing_confound"])
def test_a_problem_is_one_line_and_exit_1(tree, tmp_path, fault):
    scan = next(iter(tree.scans.values()))
    mend = FAULTS[fault](tree, scan)
    out = tmp_path / "problems.tsv"
    result = CliRunner().invoke(app, ["validate", str(tree.site), "--out", str(out)])
    assert result.exit_code == 1
    shown = unstyle(result.stdout)
    assert "5 scans of 3 people can be read" in re.sub(r"\s+", " ", shown)
    (row,) = csv.DictReader(out.read_text().splitlines(), delimiter="\t")
    assert row["file"] == str(mend.relative_to(tree.dataset))
    assert row["expected"] and row["found"] and row["mend"]
    assert out.read_text() in shown


def test_no_problems_no_exit(tree):
    result = CliRunner().invoke(app, ["validate", str(tree.site)])
    assert result.exit_code == 0 and "problems" not in result.stdout


def test_a_table_row_stays_a_row(tmp_path):
    problem = ScanProblem(tmp_path / "a\tb.nii", "one\nline", "two", "mend")
    lines = list(csv.reader(problems_as_tsv([problem], tmp_path).splitlines(True), delimiter="\t"))
    assert lines[1] == ["a\tb.nii", "one\nline", "two", "mend"]


def test_a_site_that_does_not_say_how(tree):
    site = site_of(tree)
    with pytest.raises(ValueError, match="expected a section 'prepare' in the YAML of site 'sit"):
        validate(site.model_copy(update={"prepare": None}))


def test_nothing_to_validate(tree):
    change(tree, input={**tree_input(tree), "task": "nback"})
    with pytest.raises(
        ValueError, match=r"expected scans of task 'nback' in the form 'fmriprep' in '.*', found no"
    ):
        validate(site_of(tree))


def tree_input(tree) -> dict[str, str]:
    return dict(kind="fmriprep", folder=str(tree.dataset), label_image=str(tree.label_image))
