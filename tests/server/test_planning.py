"""``server plan``: what a coordinator reads of a study's privacy before anybody is asked."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from brainjepa_core.settings import read_settings
from brainjepa_server.cli import app
from brainjepa_server.planning import plan_lines, plan_study
from brainjepa_server.settings import StudySettings

STUDY = {
    "name": "planned",
    "rounds": {"local_steps": 1},
    "pretraining": {"training": {"batch_size": 8, "schedule": {"total_steps": 300}}},
}


@pytest.fixture
def study(tmp_path):
    def write(training: dict | None = None, **changes) -> StudySettings:
        content = {**STUDY, **changes}
        recipe = {**STUDY["pretraining"]["training"], **(training or {})}
        content["pretraining"] = {**content["pretraining"], "training": recipe}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content))
        return read_settings(path, StudySettings)

    return write


def invoke(path, *words: str):
    return CliRunner().invoke(app, ["plan", str(path / "study.yaml"), *words])


def test_twelve_small_sites_are_told_that_they_cannot_and_what_they_can(study, tmp_path):
    study(pretraining={"preset": "small", **STUDY["pretraining"]})
    found = invoke(tmp_path, "--sites", "12", "--people", "26", "--epsilon", "8", "--rois", "100")
    assert found.exit_code == 0, found.output
    assert (
        "12 sites of 20 people each outside the held-out fold: epsilon 8 at delta 1e-05"
        in found.output
    )
    assert "12 sites, 300 rounds, 300 steps of about 8 people a site" in found.output
    assert "That is all of the study: a basis and evaluations are asked of no site" in found.output
    assert "This cannot train the model: each step is noise" in found.output
    for advice in ("adapters", "start_from", "secure sums", "do without differential privacy"):
        assert advice in found.output


def test_large_sites_and_adapters_train(study, tmp_path):
    study(training={"batch_size": 64, "train": "adapters", "adapter_rank": 1})
    words = ("--sites", "8", "--people", "6250", "--epsilon", "3", "--rois", "20")
    found = invoke(tmp_path, *words)
    assert found.exit_code == 0, found.output
    assert "This trains, nearly as well as without privacy." in found.output
    assert "instead" not in found.output and "  - " not in found.output


def test_shared_noise_has_two_numbers(study):
    plan = plan_study(study(), sites=12, people=[26], rois=8, noise=3.0, honest_sites=9)
    told = "\n".join(plan_lines(plan))
    assert "if at least 9 sites of each sum follow the protocol; epsilon " in told
    assert "if a site is the only one that does" in told
    assert "of which each site adds 1 / 9 of the variance" in told
    assert "An epsilon above 10 promises little" in told or plan.plan.promises[0].epsilon <= 10


PRIVATE = {"protect": "dp", "start_from": {"model": "model"}}


def test_the_study_s_own_promise_is_planned(study, tmp_path):
    told = {"epsilon": 3, "delta": 1e-6, "clip": 0.5}
    study(**PRIVATE, sites=["Graz", "Lyon", "Nara"], privacy=told)
    found = invoke(tmp_path, "--people", "26", "--rois", "8")
    assert "3 sites of 20 people each outside the held-out fold: epsilon 3 at delta 1e-06" in (
        found.output
    )
    asked = invoke(tmp_path, "--people", "26", "--rois", "8", "--epsilon", "5", "--delta", "1e-5")
    assert "epsilon 5 at delta 1e-05" in asked.output


def test_sites_of_several_sizes_are_told_of_each(study, tmp_path):
    central = {"noise": 4.0, "where": "central", "honest_sites": 3}
    study(**PRIVATE, privacy=central)
    many = ("--people", "30", "--people", "400", "--people", "30")
    found = invoke(tmp_path, *many, "--rois", "8")
    assert found.exit_code == 0, found.output
    assert "2 sites of 24 people each outside the held-out fold: epsilon" in found.output
    assert "1 site of 320 people outside the held-out fold: epsilon" in found.output
    assert found.output.count("if at least 3 sites of each sum follow the protocol") == 2
    asked = plan_study(
        read_settings(tmp_path / "study.yaml", StudySettings),
        people=[30, 400, 30],
        rois=8,
        epsilon=8.0,
    )
    small, large = asked.plan.promises
    assert small.release.noise == large.release.noise and small.epsilon > large.epsilon


def test_both_all_parameters_and_adapters_are_told_of(study, tmp_path):
    settings = study()
    planned = plan_study(settings, sites=3, people=[30], rois=8, noise=3.0)
    told = "\n".join(plan_lines(planned))
    many = planned.parameters
    assert many["adapters"] < many["all"] / 5
    of_all, of_adapters = (planned.plan.signal_to_noise(many[t]) for t in ("all", "adapters"))
    assert of_adapters == pytest.approx(of_all * (many["all"] / many["adapters"]) ** 0.5)
    assert f"{of_all:.2g} with all {many['all']} parameters, {of_adapters:.2g} with the" in told


def test_adapters_count_as_few_parameters(study):
    counts = [
        plan_study(study(training=t), sites=3, people=[30], rois=8, noise=3.0).plan.shape.parameters
        for t in ({}, {"train": "adapters"})
    ]
    assert counts[1] < counts[0] / 5


@pytest.mark.parametrize(
    ("training", "words", "text"),
    [
        ({}, ("--people", "26"), "found none and no roster in the study; give --sites"),
        ({"clip_norm": 1.0}, ("--people", "26", "--sites", "3"), "no training.clip_norm with diff"),
        (
            {},
            ("--people", "26", "--sites", "3", "--honest-sites", "4"),
            "at most 3 honest sites, whom a secure sum of 3 is sure to have, found 4",
        ),
        (
            {},
            ("--people", "26", "--people", "30", "--sites", "3"),
            "expected the people of each of 3 sites, found 2 numbers",
        ),
        ({}, ("--people", "26", "--sites", "3", "--delta", "0.1"), "a tenth of a person in 20"),
        ({}, ("--people", "26", "--sites", "3", "--epsilon", "0"), "an epsilon above 0, found 0"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(study, tmp_path, training, words, text):
    study(training=training)
    found = invoke(tmp_path, *words, "--rois", "8")
    assert found.exit_code == 1
    assert text in " ".join(found.output.split())
    assert "Traceback" not in found.output


def test_shared_noise_of_several_steps_a_round_is_refused(study, tmp_path):
    study(rounds={"local_steps": 2})
    words = ("--people", "26", "--sites", "3", "--honest-sites", "3", "--rois", "8")
    assert "expected one local step a round" in " ".join(invoke(tmp_path, *words).output.split())
