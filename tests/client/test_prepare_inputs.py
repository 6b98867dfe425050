"""XCP-D series and UK Biobank tables, from their files to a store in 17-network order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from brainjepa_client.preparing import scan as prepare_scan_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import load_atlas, names_in_7network_order
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore

ATLAS = load_atlas()
FRAMES = 60


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(prepare_scan_module, "draw_scan", lambda *_, **__: None)


def prepared(folder: Path, **source) -> ScanStore:
    content = {
        "name": "site",
        "store": str(folder / "store"),
        "state": str(folder / "state"),
        "prepare": {"input": {"folder": str(folder / "data"), **source}, "processes": 1},
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(content))
    settings = read_settings(folder / "site.yaml", SiteSettings)
    reports = list(Preparation.of(settings).run())
    assert [report.reasons for report in reports] == [()] * len(reports)
    return ScanStore.open(settings.store)


def truth() -> np.ndarray:
    """Series [R, F] in the atlas' order."""
    return np.random.default_rng(0).standard_normal((len(ATLAS), FRAMES)).astype(np.float32)


def test_xcpd_in_7network_names_and_order(tmp_path):
    seven = names_in_7network_order()  # 17-network names in the order of 7-network files
    series = truth()[[ATLAS.rois.index(name) for name in seven]]
    func = tmp_path / "data" / "sub-01" / "func"
    func.mkdir(parents=True)
    for atlas, rows in (("Tian", slice(0, 50)), ("4S456Parcels", slice(50, 450))):
        lines = ["\t".join(name.removeprefix("17Networks_") for name in seven[rows])]
        lines += ["\t".join(map(repr, frame.tolist())) for frame in series[rows].T]
        stem = f"sub-01_task-rest_space-MNI152NLin2009cAsym_seg-{atlas}_stat-mean_timeseries"
        (func / f"{stem}.tsv").write_text("\n".join(lines) + "\n")
    store = prepared(tmp_path, kind="xcpd", tr=0.8)
    (record,) = store.records
    assert record.key == ("sub-01", "", "task-rest") and record.tr == 0.8
    assert store.atlas.rois == ATLAS.rois and record.missing == ()
    np.testing.assert_allclose(store.series(record), truth(), atol=1e-6)


def test_uk_biobank(tmp_path):
    folder = tmp_path / "data" / "1000011_31016_2_0"
    folder.mkdir(parents=True)
    shuffled = np.random.default_rng(1).permutation(len(ATLAS))
    tables = {"fMRI.Tian_Subcortex_S3_3T": range(50), "fMRI.Schaefer17n400p": range(50, 450)}
    for name, rows in tables.items():
        lines = [",".join(["label_name", *(f"timepoint_{i}" for i in range(FRAMES))])]
        for row in shuffled:
            if row in rows:
                lines.append(",".join([ATLAS.rois[row], *map(repr, truth()[row].tolist())]))
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tage\n1000011\t61\n")
    store = prepared(tmp_path, kind="ukb")
    (record,) = store.records
    assert record.key[:2] == ("1000011", "2") and record.tr == 0.735
    assert record.phenotypes == {"age": 61.0}
    np.testing.assert_allclose(store.series(record), truth(), atol=1e-6)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["rois"] == list(ATLAS.rois)
