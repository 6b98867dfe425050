"""Slurm's commands: what they are told, and what becomes of what they say."""

from __future__ import annotations

import pytest
from stand_in_slurm import Cluster

from brainjepa_client.settings import SiteSettings, SlurmSettings
from brainjepa_client.slurm import jobs
from brainjepa_core.settings import read_settings


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script"
    path.write_text("#!/bin/bash\nenv > here\nexit ${CODE:-0}\n")
    return path


def ended(cluster: Cluster, number: str) -> str:
    while not jobs.is_over(state := (jobs.state_of(number) or ("PENDING", ""))[0]):
        pass
    return state


def test_a_job_runs_with_the_sites_options_and_nothing_of_its_environment(
    cluster, script, monkeypatch
):
    monkeypatch.setenv("CANARY", "of the start")
    options = {"partition": "gpu", "gres": "gpu:1", "cpus-per-task": 4, "exclusive": True}
    number = jobs.submit(script, script.with_name("50 % log"), options)
    assert ended(cluster, number) == "COMPLETED"
    (job,) = cluster.jobs()
    told = job["options"]
    assert (told["partition"], told["gres"], told["cpus-per-task"]) == ("gpu", "gpu:1", "4")
    assert {"exclusive", "no-requeue"} <= told.keys() and told["job-name"] == "brainjepa"
    assert "CANARY" not in script.with_name("here").read_text()
    assert script.with_name("50 % log").exists()


REFUSALS = {
    "unknown option": ({"foo": "1"}, "sbatch: unrecognized option '--foo'"),
    "unknown partition": ({"partition": "fast"}, "invalid partition specified: fast"),
    "time": ({"time": "soon"}, "sbatch: error: Invalid --time specification"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_sbatch_refuses_is_told_in_its_words(cluster, script, case):
    options, said = REFUSALS[case]
    expected = f"^expected sbatch to take it, found that it says: .*{said}.*; correct slurm.options"
    with pytest.raises(jobs.SlurmError, match=expected):
        jobs.submit(script, script.with_name("log"), options)
    with pytest.raises(jobs.SlurmError, match=r"; correct slurm\.options of the site's YAML"):
        jobs.try_out(script, script.with_name("log"), options)
    assert cluster.jobs() == []


def test_a_machine_without_slurm_is_told_so(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        jobs.SlurmError,
        match=r"^expected Slurm's command sbatch on this machine \(device: slurm\), found none; ",
    ):
        jobs.submit(script, tmp_path / "log", {})


@pytest.mark.parametrize(
    "said, number", [("17", "17"), ("17;north", "17"), ("Submitted batch job 17", ""), ("", "")]
)
def test_the_number_of_a_job_is_read(script, tmp_path, monkeypatch, said, number):
    monkeypatch.setattr(jobs, "_run", lambda command: said + "\n")
    if number:
        assert jobs.submit(script, tmp_path / "log", {}) == number
        return
    with pytest.raises(jobs.SlurmError, match=r"^expected the number of a job from sbatch, "):
        jobs.submit(script, tmp_path / "log", {})


def test_a_slurm_that_hangs_is_not_waited_for(script, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "PATIENCE", 0.2)
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(jobs.SlurmError, match=r"^expected an answer of sbatch within 0 seconds"):
        jobs.submit(script, tmp_path / "log", {})


def test_the_state_of_a_job_is_slurms_word_for_it(cluster, script):
    cluster.tell("pending")
    number = jobs.submit(script, script.with_name("log"), {})
    assert jobs.state_of(number) == ("PENDING", "Resources")
    assert not jobs.is_over("PENDING") and not jobs.is_over("COMPLETING")
    cluster.tell("down")
    assert jobs.state_of(number) is None
    with pytest.raises(jobs.SlurmError, match="Unable to contact slurm controller"):
        jobs.cancel(number)
    (cluster.folder / "down").unlink()
    jobs.cancel(number)
    assert ended(cluster, number) == "CANCELLED"
    cluster.tell("forgetful")
    assert jobs.state_of(number) == (jobs.GONE, "") and jobs.is_over(jobs.GONE)
    jobs.cancel("99")  # one that is not known is over


def read(tmp_path, text: str) -> SiteSettings:
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "store" / "store.json").write_text("{}")
    (tmp_path / "site.yaml").write_text(f"name: Lyon\nstore: store\nstate: state\n{text}")
    return read_settings(tmp_path / "site.yaml", SiteSettings)


def test_a_site_says_how_its_cluster_is_asked(tmp_path):
    text = 'device: slurm\nslurm:\n  options: {partition: gpu, time: "04:00:00", mem: 32000}\n'
    site = read(tmp_path, text)
    assert site.slurm == SlurmSettings(
        options={"partition": "gpu", "time": "04:00:00", "mem": 32000}, device="cuda"
    )
    assert jobs.option_words(site.slurm.options) == [
        "--partition=gpu", "--time=04:00:00", "--mem=32000"
    ]  # fmt: skip
    assert (site.here().device, site.here().slurm) == ("cpu", None)


FAULTS = {
    "device: slurm\n": r"expected 'device: slurm' with a section slurm \(options of sbatch\), "
    "found no such section; add the one",
    "slurm: {options: {}}\n": "found device 'cpu'; add the one, or take the other out",
    "device: slurm\nslurm: {options: {time: 12:00:00}}\n": "line 5: slurm.options: expected text "
    "in quotes for 'time', found the number 43200; write time: \"04:00:00\"",
    "device: slurm\nslurm: {options: {output: a}}\n": "expected long options of sbatch that a site "
    "may choose, found 'output'; write partition,",
    "device: slurm\nslurm: {options: {p: gpu}}\n": "found 'p'; write partition",
    "device: slurm\nslurm: {options: {exclusive: false}}\n": "expected a text, a number or true "
    "for 'exclusive', found another value; leave the option out",
    'device: slurm\nslurm: {options: {gres: "gpu\\n"}}\n': "for 'gres', found another value",
    "device: slurm\nslurm: {options: {}, device: slurm}\n": "slurm.device: expected text of the",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_in_its_options_is_told_by_line(tmp_path, text):
    with pytest.raises(ValueError, match=FAULTS[text]):
        read(tmp_path, text)
