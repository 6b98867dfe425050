"""A real site in a simulated consortium: from its derivative tree to a federated run."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from click import unstyle
from small_consortium import plan, scenario, summary
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import generate_site
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.painting.tree import write_tree


@pytest.fixture
def tree(tmp_path):
    """The first site of the small scenario's cohort, painted; one process prepares it."""
    tree = write_tree(tmp_path / "hospital", generate_site(scenario(3).cohort, 0))
    content = yaml.safe_load(tree.site.read_text())
    content["policy"] = {"min_subjects": 2}
    content["prepare"].update(processes=1, exclude={"mean_fd": None})
    tree.site.write_text(yaml.safe_dump(content))
    return tree


@pytest.mark.slow
def test_one_yaml_and_one_command_from_images_to_a_model(tree, tmp_path):
    file, out = tmp_path / "study.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(plan(3)))
    words = ["simulate", str(file), "--site", str(tree.site), "--out", str(out)]
    result = CliRunner().invoke(command(), words)
    assert result.exit_code == 0, result.output
    shown = " ".join(unstyle(result.stdout).split())
    assert f"{len(tree.scans)} scans in the store" in shown
    assert "3 sites, 8 ROIs: site-01, site-02, site-03" in shown
    assert (out / "final" / "model.safetensors").exists() and (out / "report.html").exists()
    assert {row["site"] for row in sites_of(out)} == {"site-01", "site-02", "site-03"}
    guest = read_settings(out / "sites" / "site-01.yaml", SiteSettings)
    assert guest.store == (tree.folder / "store").resolve() and guest.policy.min_subjects == 2
    assert not (tree.folder / "state").exists()
    result = CliRunner().invoke(command(), [*words, "--resume"])
    assert result.exit_code == 0 and f"{len(tree.scans)} of them finished before" in " ".join(
        unstyle(result.stdout).split()
    )


def sites_of(out) -> list[dict]:
    """A row for each site of the last round."""
    return [{"site": name} for name in summary(out)["rounds"][-1]["sites"]]


def test_the_guest_takes_a_place_and_the_others_stay_who_they_are(tree, tmp_path):
    guest = prepared(tree)
    stores = make_sites(scenario(3), tmp_path / "run", [guest])
    assert [store.path.name for store in stores] == ["store", "site-02", "site-03"]
    expected = write_cohort(scenario(3).cohort, tmp_path / "all")
    for store, path in zip(stores[1:], expected[1:], strict=True):
        whole = ScanStore.open(path)
        assert [r.sha256 for r in store.records] == [r.sha256 for r in whole.records]
        assert store.atlas.rois == stores[0].atlas.rois


def prepared(tree) -> SiteSettings:
    """Settings of the tree's site, with a store of noise in its atlas."""
    atlas = tree.volume.atlas
    store = ScanStore.create(tree.folder / "store", atlas)
    rng = np.random.default_rng(0)
    for person in range(3):
        store.append(rng.standard_normal((len(atlas), 40)), subject=f"sub-{person}", tr=2.0)
    return read_settings(tree.site, SiteSettings)


def test_the_others_speak_the_guests_atlas(tmp_path):
    atlas = Atlas.from_names([f"region {i}" for i in range(10)])
    store = ScanStore.create(tmp_path / "store", atlas)
    store.append(np.random.default_rng(0).standard_normal((10, 40)), subject="sub-1", tr=2.0)
    guest = SiteSettings(name="hospital", store=tmp_path / "store", state=tmp_path / "state")
    stores = make_sites(scenario(3), tmp_path / "run", [guest])
    assert [store.path.name for store in stores] == ["store", "site-02", "site-03"]
    assert {store.atlas.rois for store in stores} == {atlas.rois}


def test_two_sites_of_one_name(tree, tmp_path):
    guest = prepared(tree).model_copy(update={"name": "site-02"})
    with pytest.raises(ValueError, match="sites of different names, found 1 of a name that anot"):
        make_sites(scenario(3), tmp_path / "run", [guest])
