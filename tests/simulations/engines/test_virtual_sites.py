"""Virtual sites on disk: a store, a state folder and a YAML each, in order of their names."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_consortium import plan, scenario

from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.scenario import Scenario

FRAMES, ROIS = 20, ["Vis_1", "Vis_2", "Def_1"]


def of_data(folder, **changes) -> Scenario:
    return Scenario.model_validate({**plan(**changes), "cohort": None, "data": folder})


def archive(path, seed=0, people=3) -> None:
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    np.savez(
        path,
        ts=rng.standard_normal((people * FRAMES, 3)).astype("f4"),
        lengths=np.full(people, FRAMES),
        participant_id=np.array([f"{path.stem}-{i}" for i in range(people)]),
        tr=np.float32(2.0),
        roi=np.array(ROIS),
    )


def test_every_site_computes_where_and_how_the_scenario_says(tmp_path):
    chosen = scenario(2, device="cuda", computing={"precision": "bf16"})
    for store in make_sites(chosen, tmp_path):
        site = read_settings(tmp_path / "sites" / f"{store.path.name}.yaml", SiteSettings)
        assert (site.device, site.computing) == ("cuda", chosen.computing)
    assert chosen.computing.precision == "bf16"


def test_a_cohort_becomes_sites(tmp_path):
    chosen = scenario(3, threads=2)
    stores = make_sites(chosen, tmp_path)
    assert [store.path.name for store in stores] == ["site-01", "site-02", "site-03"]
    for store in stores:
        found = read_settings(tmp_path / "sites" / f"{store.path.name}.yaml", SiteSettings)
        assert found.name == store.path.name and found.threads == 2
        assert found.store == store.path.resolve() and found.policy == chosen.policy
        assert found.state == (tmp_path / "site-state" / found.name).resolve()
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    make_sites(chosen, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_stores_of_a_data_folder_are_used_where_they_lie(tmp_path):
    paths = write_cohort(scenario(2).cohort, tmp_path / "data")
    archive(tmp_path / "data" / "ignored.npz")  # stores come first
    stores = make_sites(of_data(tmp_path / "data"), tmp_path / "run")
    assert [store.path for store in stores] == paths
    assert not (tmp_path / "run" / "stores").exists()
    found = read_settings(tmp_path / "run" / "sites" / "site-02.yaml", SiteSettings)
    assert found.store == paths[1].resolve()


@pytest.mark.parametrize("participants", [True, False])
def test_archives_of_a_data_folder_are_imported(tmp_path, participants):
    data = tmp_path / "data"
    for seed, name in enumerate(("north", "east", "project_310_to_450")):
        archive(data / f"{name}.npz", seed)
    if participants:
        (data / "participants.tsv").write_text("participant_id\tage\nnorth-0\t33\n")
    stores = make_sites(of_data(data), tmp_path / "run")
    assert [store.path.name for store in stores] == ["east", "north"]
    assert [len(store.records) for store in stores] == [3, 3]
    assert stores[1].records[0].phenotypes == ({"age": 33} if participants else {})
    again = make_sites(of_data(data), tmp_path / "run")
    assert [ScanStore.open(s.path).fingerprint for s in again] == [s.fingerprint for s in stores]


def test_sites_of_other_data_are_refused(tmp_path):
    archive(tmp_path / "data" / "a.npz", 0)
    make_sites(of_data(tmp_path / "data"), tmp_path / "run")
    before = (tmp_path / "run" / "sites" / "a.yaml").read_bytes()
    archive(tmp_path / "data" / "b.npz", 1)
    with pytest.raises(
        ValueError, match=r"expected the same b.ROIs, b.people, b.phenotypes, b.scan"
    ):
        make_sites(of_data(tmp_path / "data"), tmp_path / "run")
    archive(tmp_path / "corrected" / "a.npz", 1)
    (tmp_path / "run" / "stores").rename(tmp_path / "aside")
    with pytest.raises(ValueError, match=r"expected the same a.scans as the results in this"):
        make_sites(of_data(tmp_path / "corrected"), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "sites").glob("*.yaml")] == ["a.yaml"]
    assert (tmp_path / "run" / "sites" / "a.yaml").read_bytes() == before


def test_ages_count_for_rounds_to_come_and_other_columns_do_not(tmp_path):
    """The yardstick tells age: half of the rounds would be of the old ones."""
    data = tmp_path / "data"
    archive(data / "a.npz", people=2)
    table = data / "participants.tsv"

    def resume(header: str, *people: str) -> None:
        shutil.rmtree(tmp_path / "run" / "stores", ignore_errors=True)
        table.write_text("\n".join([f"participant_id\t{header}", *people, ""]))
        make_sites(of_data(data), tmp_path / "run")

    resume("age", "a-0\t30", "a-1\t40")
    resume("age\tiq", "a-0\t30\t99", "a-1\t40\t101")
    with pytest.raises(ValueError, match=r"expected the same a.phenotypes as the results in this"):
        resume("age\tiq", "a-0\t31\t99", "a-1\t40\t101")


def test_a_folder_without_data(tmp_path):
    text = r"expected scan stores or site archives \(.npz\) in '.*', found none; correct the path"
    with pytest.raises(ValueError, match=text):
        make_sites(of_data(tmp_path), tmp_path / "run")


def test_fewer_sites_than_the_quorum(tmp_path):
    archive(tmp_path / "a.npz")
    text = r"expected at least 2 sites \(study.rounds.quorum\), found 1 in the data folder; add"
    with pytest.raises(ValueError, match=text):
        make_sites(of_data(tmp_path, rounds={"quorum": 2}), tmp_path / "run")


@pytest.mark.parametrize("name", ["St. Mary", "a" * 41])
def test_a_folder_whose_name_is_no_site_name(tmp_path, name):
    archive(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match=r"expected names of 1 to 40 letters, digits, - and _"):
        make_sites(of_data(tmp_path), tmp_path / "run")
