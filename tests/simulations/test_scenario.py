"""Scenarios: the shipped ones are sound, and what is wrong is named with its key and mend."""

from __future__ import annotations

import pytest
import yaml
from small_consortium import plan

from brainjepa_simulations.scenario import SCENARIOS, Scenario, read_scenario

SHIPPED = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_sound(name, tmp_path):
    content = yaml.safe_load((SCENARIOS / f"{name}.yaml").read_text())
    found = read_scenario(name, None if "cohort" in content else tmp_path)
    assert found.study.name == name.replace("_", "-")
    assert found.study.total_rounds > 1
    if found.cohort is not None:
        floors, counts = found.study.floors, found.cohort.subject_counts
        assert found.cohort.sites >= floors.sites
        faulty = {*found.faults.dropouts, *found.faults.poison}
        assert faulty <= set(range(1, found.cohort.sites + 1))
        # Four of five people are trained on, by chance more or fewer.
        assert 0.75 * sum(counts) >= floors.subjects
        assert 0.6 * min(counts) >= max(floors.subjects_per_site, found.policy.min_subjects)
        assert found.cohort.rois > found.study.pretraining.basis.components


def test_a_file_may_be_given(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plan(2)))
    found = read_scenario(str(tmp_path / "mine.yaml"))
    assert found == Scenario.model_validate(plan(2)) and found.threads == 1
    assert found.faults.dropouts == {} and found.data is None


def test_a_folder_of_data_may_be_given(tmp_path):
    content = plan(2)
    del content["cohort"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert read_scenario(tmp_path / "mine.yaml", tmp_path).data == tmp_path


def test_a_family_of_volumes_needs_data_that_has_them(tmp_path):
    content = plan(2)
    content["study"]["pretraining"] = {
        "family": "swift",
        "windows": {"frames": 20, "temporal": "official"},
        "basis": {"kind": "centroids"},
    }
    text = r"expected data, a folder of stores with volumes .* with family swift, found a synthetic"
    with pytest.raises(ValueError, match=text):
        Scenario.model_validate(content)
    del content["cohort"]
    assert Scenario.model_validate({**content, "data": tmp_path}).data == tmp_path


def test_an_unknown_name():
    with pytest.raises(ValueError) as caught:
        read_scenario("demoo")
    text = str(caught.value)
    assert text.startswith("expected a scenario of ") and "demo, " in text
    assert text.endswith("or a file that ends in .yaml, found 'demoo'; did you mean demo?")


def wrong(tmp_path, change: dict, data=None) -> str:
    content = {**plan(2), **change}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    with pytest.raises(ValueError) as caught:
        read_scenario(file, data)
    assert str(caught.value).startswith("mine.yaml")
    return str(caught.value)


def study(**change) -> dict:
    return {"study": {**plan(2)["study"], **change}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cohort": None}, "expected either cohort (synthetic sites) or data (a folder), found "
         "none; give one of the two (for data also: --data FOLDER)"),
        ({"data": "/"}, "or data (a folder), found both; give one of the two"),
        ({"cohort": None, "data": "/no/such"}, "found '/no/such', no such folder; correct the"),
        (study(rounds={"local_steps": 2, "quorum": 3}),
         "expected study.rounds.quorum of at most the 2 sites of the cohort, found 3; lower the "
         "quorum or add sites"),
        (study(rounds={"local_steps": 4, "quorum": 1}),
         "study: expected rounds.local_steps to divide the schedule's total_steps (6), found 4; "
         "change one of the two"),
        ({**study(aggregation={"wire": "bf16"}), "faults": {"poison": {1: "nan"}}},
         "expected study.aggregation.wire fp32 where sites are poisoned, found bf16; poison is"),
        ({"faults": {"poison": {1: "rude"}}}, "faults.poison.1: expected 'nan', 'huge'"),
        ({"faults": {"drop": {}}}, "faults.drop: no such field; check the spelling or remove it"),
        ({"cohort": {"sites": 2, "rois": 4}}, "cohort: expected at least two ROIs a network"),
        ({"device": "gpu"}, "device: expected text of the form (cpu|cuda("),
        ({"computing": {"precision": "tf32"}}, "expected a GPU for precision: tf32, found device"),
        ({"threads": 0}, "threads: expected a number of at least 1, found 0; correct it"),
        ({"study": None}, "study: expected a value, found none; add the field"),
        ({"policy": {"min_subjects": 0}}, "policy.min_subjects: expected a number of at least"),
        ({"faults": {"dropouts": {9: [1]}}},
         "expected sites from 1 to 2 (those of the cohort) in faults, found 9; correct the number"),
    ],
)  # fmt: skip
def test_wrong_fields(tmp_path, change, text):
    assert text in wrong(tmp_path, change)


def test_a_shipped_name_is_that_scenario_beside_a_folder_of_the_name(tmp_path, monkeypatch):
    expected = read_scenario("demo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # as `brainjepa demo --out demo` leaves it
    assert read_scenario("demo") == expected
