"""`brainjepa simulate` and `demo` as their users call them."""

from __future__ import annotations

import json

import pytest
import yaml
from click import unstyle
from small_consortium import in_this_process_alone, plan, same, summary, weights
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_server import study as study_module
from brainjepa_simulations import scenario as scenario_module
from brainjepa_simulations.baselines import compare as compare_module


def call(*arguments):
    result = CliRunner().invoke(command(), [str(argument) for argument in arguments])
    return result, " ".join(unstyle(result.stdout).split())


def success(*arguments) -> str:
    result, shown = call(*arguments)
    assert result.exit_code == 0, result.output
    return shown


def failure(*arguments) -> str:
    result, _ = call(*arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    error = unstyle(result.stderr)
    assert error.startswith("Error: ") and error.count("\n") == 1
    return error[len("Error: ") : -1]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(plan(2, 6)))
    return path


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(compare_module, "in_order", in_this_process_alone)


def test_a_study_from_nothing_to_its_report(tmp_path, file):
    out = tmp_path / "run"
    shown = success("simulate", file, "--out", out)
    assert "2 sites, 8 ROIs: site-01, site-02 consensus basis" in shown
    assert "round 1 of 1 loss" in shown and "by the federation" in shown
    assert "R2 of held-out people, pool network_covariance" in shown
    assert (out / "final" / "model.safetensors").exists() and (out / "best").exists()
    assert "<html" in (out / "report.html").read_text()

    before = summary(out)
    text = failure("simulate", file, "--out", out)
    assert text == (
        "expected a new folder, found a study's summary.json in it; give --resume to continue "
        "that study, or another --out"
    )
    shown = success("simulate", file, "--out", out, "--resume")
    assert "resuming after round 1 of 1" in shown and summary(out) == before

    other = tmp_path / "other.yaml"
    files = contents(out)
    other.write_text(yaml.safe_dump(plan(2, 6, aggregation={"combine": "median"})))
    text = failure("simulate", other, "--out", out, "--resume")
    assert text.startswith("expected the same study.aggregation.combine as the results in this")
    other.write_text(yaml.safe_dump(plan(2, 6, cohort={"subjects_per_site": 30})))
    text = failure("simulate", other, "--out", out, "--resume")
    assert text.startswith("expected the same cohort.subjects_per_site as the results in this")
    assert contents(out) == files  # study.yaml and sites too

    shown = success("simulate", file, "--out", out, "--resume", "--compare")
    assert "Baselines, with the same seed, basis and number of local steps: pooled" in shown
    for row in ("on all data in one place", "by each site alone (mean)", "untrained (random"):
        assert row in shown
    models = {row["model"] for row in json.loads((out / "summary.json").read_text())["baselines"]}
    assert models == {"federated", "random weights", "pooled", "site-01 alone", "site-02 alone"}


def test_baselines_are_trained_on_the_cores_that_this_process_may_use(tmp_path, file, monkeypatch):
    """A container has fewer of them than its machine."""
    asked = []

    def in_so_many(work, items, processes):
        asked.append(processes)
        return in_this_process_alone(work, items, processes)

    monkeypatch.setattr(compare_module, "in_order", in_so_many)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 7})
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    success("simulate", file, "--out", tmp_path / "run", "--compare")
    assert asked == [3]


def test_a_study_that_was_cut_short_is_resumed(tmp_path, file, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "write_round", full)
        assert failure("simulate", file, "--out", tmp_path / "a") == "no space left on device"
    assert "give --resume" in failure("simulate", file, "--out", tmp_path / "a")
    success("simulate", file, "--out", tmp_path / "a", "--resume")
    success("simulate", file, "--out", tmp_path / "b", "--resume")  # nothing there is fine too
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_errors_are_one_line_and_come_before_any_round(tmp_path, file):
    out = tmp_path / "run"
    text = failure("simulate", "demoo", "--out", out)
    assert text.endswith("found 'demoo'; did you mean demo?")
    text = failure("simulate", "abide", "--out", out)
    assert "(for data also: --data FOLDER)" in text
    text = failure("simulate", "abide", "--data", tmp_path / "gone", "--out", out)
    assert f"found '{tmp_path / 'gone'}', no such folder; correct the path" in text
    content = plan(2)
    content["study"]["rounds"]["quorum"] = 5
    file.write_text(yaml.safe_dump(content))
    text = failure("simulate", file, "--out", out)
    assert "expected study.rounds.quorum of at most the 2 sites of the cohort, found 5" in text
    assert not out.exists()
    text = failure("simulate", "abide", "--data", tmp_path, "--out", out)
    assert text.startswith("expected scan stores or site archives (.npz) in '")
    assert not (out / "summary.json").exists()


def test_too_few_people_for_the_consensus(tmp_path, file):
    content = plan(2)
    content["study"]["floors"] = {"sites": 2, "subjects_per_site": 1, "subjects": 200}
    file.write_text(yaml.safe_dump(content))
    text = failure("simulate", file, "--out", tmp_path / "run")
    assert text.startswith("expected at least 200 subjects over all sites (floors.subjects), found")


@pytest.fixture
def small_demo(tmp_path, file, monkeypatch):
    """The shipped demo, of two sites and six people each."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "demo.yaml").write_text(file.read_text())
    monkeypatch.setattr(scenario_module, "SCENARIOS", shipped)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("small_demo")
def test_a_demo_that_holds_work_of_others_is_left_alone(tmp_path):
    out = tmp_path / "demo-run"
    assert "on all data in one place" in success("demo", "--out", out)
    (out / "sites" / "thesis.txt").write_text("mine")
    before = contents(out)
    text = failure("demo", "--out", out)
    assert text == (
        "expected a new folder, or one that holds what an earlier demo made and nothing else, "
        "found 1 other file, such as 'sites/thesis.txt'; give another --out, or move them away"
    )
    assert contents(out) == before


@pytest.mark.slow
@pytest.mark.usefixtures("small_demo")
def test_an_earlier_demo_is_replaced_however_it_ended(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "write_round", full)
        assert failure("demo", "--out", tmp_path / "run") == "no space left on device"
    success("demo", "--out", tmp_path / "run")
    (tmp_path / "run" / "report.html").write_text("of the earlier demo")
    success("demo", "--out", tmp_path / "run")
    assert "<html" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("name", ["thesis.txt", "study.yaml", "demo.json"])
def test_the_demo_leaves_what_it_did_not_make(tmp_path, file, name):
    """A study of one's own has the files of a demo; a list of nothing makes nothing the demo's."""
    out = tmp_path / "mine"
    if name == "study.yaml":
        success("simulate", file, "--out", out)
    out.mkdir(exist_ok=True)
    (out / name).write_text("[]")
    (out / "work").write_text("years of work")
    before = contents(out)
    assert "expected a new folder, or one that holds what" in failure("demo", "--out", out)
    assert contents(out) == before


def test_help():
    for name in ("simulate", "demo"):
        assert name in success(name, "--help")
