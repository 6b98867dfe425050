"""Problems that headers show, and only those, without opening a scan."""

from __future__ import annotations

import csv
import re

import pytest
import yaml
from click import unstyle
from painted_sites import change, files_of, painted, site_of
from typer.testing import CliRunner

from brainjepa_client.cli import app
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.preparing.validate import problems_as_tsv, validate
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import load_atlas
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.inputs.find import find_scans
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_simulations.painting.broken_scans import FAULTS

pytestmark = pytest.mark.usefixtures("no_pictures")


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
    def told() -> list[str]:
        return [note for note in validate(site_of(tree)).notes if "leave out" in note]

    assert told() == []
    scans = len(tree.scans)
    change(tree, exclude={"mean_fd": 0.0001, "seconds": 9999})
    text = f"prepare will leave out {scans} scans of {scans}, by what headers and tables tell: "
    assert told() == [f"{text}{scans} by exclude.mean_fd, {scans} by exclude.seconds"]
    _, *still = tree.scans.values()
    for scan in still:  # unknown is not known to be too much
        table = scan.confounds.read_text().replace("framewise_displacement", "fd")
        scan.confounds.write_text(table)
    change(tree, exclude={"mean_fd": 0.0001})
    (note,) = told()
    assert note == text.replace(f"{scans} scans", "1 scan") + "1 by exclude.mean_fd"
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


def test_a_table_of_somebody_else_is_not_replaced(tree):
    result = CliRunner().invoke(app, ["validate", str(tree.site), "--out", str(tree.participants)])
    assert result.exit_code == 1
    assert "found another 'participants.tsv'; give another --out" in unstyle(result.stderr)
    assert tree.participants.read_text().startswith("participant_id\t")


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


def test_a_scan_without_its_mask_fails_or_is_told_in_table_and_page(tree):
    scan = next(iter(tree.scans.values()))
    scan.mask.unlink()
    (problem,) = validate(site_of(tree)).problems
    assert problem.file == scan.bold and "its brain mask beside it" in problem.expected
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])
    assert result.exit_code == 1 and "5 scans in the store" in words(result)

    own = yaml.safe_load(tree.site.read_text())["prepare"]["input"]
    change(tree, input={**own, "mask": "optional"})
    note = "1 of 6 scans have no brain mask (input.mask: optional), such as"
    assert note in words(CliRunner().invoke(app, ["validate", str(tree.site)]))
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])  # into the same store
    assert result.exit_code == 0 and note in words(result)
    assert "6 scans in the store" in words(result)
    table = csv.DictReader((tree.folder / "store-quality/scans.tsv").open(), delimiter="\t")
    assert sorted(float(row["masked"]) for row in table) == [0, 1, 1, 1, 1, 1]
    page = (tree.folder / "store-quality/index.html").read_text()
    assert "1 included scan read without a brain mask" in page


def test_what_is_passed_over_is_told_by_both_commands(tree):
    scan = next(iter(tree.scans.values()))
    other = scan.bold.with_name(scan.bold.name.replace("task-rest", "task-nback"))
    other.write_bytes(scan.bold.read_bytes())
    change(tree, input={**tree_input(tree), "task": "rest"})
    told = f"1 passed over, such as {other.name}: task nback, not rest (input.task)"
    for command in ("validate", "prepare"):
        result = CliRunner().invoke(app, [command, str(tree.site)])
        assert result.exit_code == 0 and told in words(result)


def words(result) -> str:
    """What a command printed, in one line."""
    return " ".join(unstyle(result.output).split())


@pytest.mark.parametrize("kind", ["hcp", "xcpd"])
def test_motion_that_was_not_fetched_is_told_before_preparing(tmp_path, kind):
    runs = {
        "hcp": "100307/MNINonLinear/Results/rfMRI_REST1_LR/rfMRI_REST1_LR_Atlas_clean.ptseries.nii",
        "xcpd": "sub-01/func/sub-01_task-rest_space-A_atlas-Own_stat-mean_timeseries.tsv",
    }
    motion = {"hcp": "Movement_RelativeRMS.txt", "xcpd": "sub-01_task-rest_motion.tsv"}[kind]
    series = tmp_path / "in" / runs[kind]
    series.parent.mkdir(parents=True)
    series.write_text("a\tb\n1\t2\n2\t1\n3\t3\n")
    (series.parent / motion).symlink_to("../nowhere")
    (tmp_path / "rois.tsv").write_text("name\na\nb\n")
    (tmp_path / "site.yaml").write_text(
        f"name: a\nstore: store\nstate: state\nprepare:\n  atlas: rois.tsv\n"
        f"  input: {{kind: {kind}, folder: in, tr: 2}}\n"
    )
    (problem,) = validate(read_settings(tmp_path / "site.yaml", SiteSettings)).problems
    assert problem.file == series.parent / motion
    assert "datalad get" in problem.mend


def test_a_store_without_scans_takes_other_settings(tree):
    """Who is told to choose a resolution can do so where nothing was stored yet."""
    for scan in tree.scans.values():
        for file in (scan.bold, scan.mask):
            copy = file.with_name(file.name.replace("_desc-", "_res-2_desc-"))
            copy.write_bytes(file.read_bytes())
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])
    assert result.exit_code == 1 and "0 scans in the store" in words(result)
    own = yaml.safe_load(tree.site.read_text())["prepare"]["input"]
    change(tree, input={**own, "res": 2}, exclude={"seconds": 10000})
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])
    assert "0 scans in the store" in words(result) and "6 left out" in words(result)
    change(tree, exclude={})  # what was left out by another rule is not finished
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])
    assert result.exit_code == 0 and "6 scans in the store" in words(result)
    change(tree, input=own)
    result = CliRunner().invoke(app, ["prepare", str(tree.site)])
    assert result.exit_code == 1 and "found others in prepare.input.res" in words(result)


def test_people_and_rows_that_do_not_meet_are_told_with_an_example(tree):
    rows = tree.participants.read_text().splitlines()
    tree.participants.write_text("\n".join([*rows[:-1], rows[-1].replace("sub-", "sub-x")]) + "\n")
    for table in (tree.dataset / "phenotype").glob("*"):
        table.unlink()
    gone = rows[-1].split("\t")[0].removeprefix("sub-")
    expected = (
        f"1 person has no row of phenotypes, such as '{gone}'",
        f"1 person of the tables has no scan, such as 'x{gone}'",
    )
    assert set(expected) <= set(validate(site_of(tree)).notes)
    assert set(expected) <= set(Preparation.of(site_of(tree)).notes())
    tree.participants.unlink()
    note = "no table of people lies beside the scans (participants.tsv, phenotype/*.tsv)"
    told = [*validate(site_of(tree)).notes, *Preparation.of(site_of(tree)).notes()]
    assert sum(text.startswith(note) for text in told) == 2


def test_codes_for_missing_are_told_until_they_are_named(tree):
    rows = tree.participants.read_text().splitlines()
    place = rows[0].split("\t").index("age")
    cells = rows[1].split("\t")
    cells[place] = "-9999"
    tree.participants.write_text("\n".join([rows[0], "\t".join(cells), *rows[2:]]) + "\n")
    (note,) = (note for note in validate(site_of(tree)).notes if "-9999" in note)
    assert "has -9999 in 1 rows, which looks like a code for missing" in note
    assert any("-9999" in note for note in Preparation.of(site_of(tree)).notes())
    change(tree, missing=[-9999])
    assert not any("-9999" in note for note in validate(site_of(tree)).notes)
    person = Preparation.of(site_of(tree)).phenotypes.of(cells[0])
    assert person and "age" not in person
