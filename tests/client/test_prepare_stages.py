"""Real patients' series in 7-network order: right by name, and caught when the names are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from oracles.usable import live_by_hand
from shared_data import shared

from brainjepa_client.preparing import scan as prepare_scan_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import load_atlas, names_in_7network_order
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore

SCANS = 5


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of five patients' series, and a site that names its columns."""
    series = np.load(shared("data", "stages419", "stages_ses-1_419.npz"))["ts"][:SCANS]
    monkeypatch.setattr(prepare_scan_module, "draw_scan", lambda *_, **__: None)
    folder = tmp_path / "series"
    folder.mkdir()
    for number, scan in enumerate(series):
        np.save(folder / f"sub-{number}.npy", scan.astype(np.float32))

    def named(cortex) -> SiteSettings:
        names = [*cortex, *(f"subcortical {i}" for i in range(19))]  # their order is not known
        (tmp_path / "names.txt").write_text("\n".join(names))
        source = {"kind": "series", "folder": str(folder), "names": str(tmp_path / "names.txt")}
        content = {
            "name": "stages",
            "store": str(tmp_path / "store"),
            "state": str(tmp_path / "state"),
            "prepare": {
                "input": {**source, "tr": 2.0},
                "exclude": {"missing_rois": None},  # no subcortex, and some of the cortex is dead
                "processes": 1,
            },
        }
        (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
        return read_settings(tmp_path / "site.yaml", SiteSettings)

    return named


def test_columns_go_to_the_rows_of_their_names(site):
    settings = site(names_in_7network_order()[50:])
    reports = list(Preparation.of(settings).run())
    assert [report.status for report in reports] == ["included"] * SCANS
    assert all(report.quality["order_score"] > 0.46 for report in reports)
    store = ScanStore.open(settings.store)
    atlas = load_atlas()
    series = np.load(shared("data", "stages419", "stages_ses-1_419.npz"))["ts"][0]
    stored = store.series(store.records[0])
    for column, name in enumerate(names_in_7network_order()[50:]):
        mean_kept = stored[atlas.rois.index(name)] - series[:, column].astype(np.float64)
        np.testing.assert_allclose(mean_kept, 0, atol=1e-5)
    dead = [roi for roi, live in zip(atlas.rois, live_by_hand(stored), strict=True) if not live]
    assert store.records[0].missing == tuple(dead)
    assert set(dead) > set(atlas.rois[:50])  # some of the cortex is dead, too


def test_17network_names_on_columns_in_7network_order_raise_the_alarm(site):
    settings = site(load_atlas().rois[50:])
    reports = list(Preparation.of(settings).run())
    assert [report.status for report in reports] == ["excluded"] * SCANS
    for report in reports:
        assert report.reasons[0].startswith("neighbour score 0.") and report.reasons[0].endswith(
            "assign the rows by name (exclude.wrong_order)"
        )
    assert ScanStore.open(settings.store).records == ()
