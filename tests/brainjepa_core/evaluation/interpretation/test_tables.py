"""The folder of an interpretation: tables that hold the means, pictures that can be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.interpretation.attribution import Attribution
from brainjepa_core.evaluation.interpretation.group_difference import compare_groups
from brainjepa_core.evaluation.interpretation.tables import (
    WRITTEN,
    network_names,
    write_interpretation,
)

ATLAS = load_atlas().take(load_atlas().rois[40:80])
NETWORKS = ATLAS.network_index
PEOPLE, DEPTH, SIZE = 20, 2, int(NETWORKS.max()) + 1
GROUPS = np.array(["autism", "control"])[np.arange(PEOPLE) % 2]
SITES = np.arange(PEOPLE) // 10


def figures(seed: int = 0) -> tuple[np.ndarray, Attribution]:
    rng = np.random.default_rng(seed)
    attention = np.exp(0.2 * rng.standard_normal((PEOPLE, DEPTH, SIZE, SIZE)))
    values = rng.standard_normal((PEOPLE, len(ATLAS)))
    attention[0, :, 1] = values[0, 3] = np.nan
    values[:, 5] = np.nan
    return attention, Attribution(values, np.nansum(values, 1), np.zeros(PEOPLE))


def write(folder, **choices) -> list[str]:
    attention, attribution = figures()
    options = {"atlas": ATLAS, "networks": NETWORKS, "unit": "SD of age", **choices}
    paths = write_interpretation(folder, attention=attention, attribution=attribution, **options)
    assert all(path.exists() for path in paths) and {path.name for path in paths} <= set(WRITTEN)
    return sorted(path.name for path in paths)


@pytest.fixture(scope="module")
def two_groups(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interpretation")
    found = write(folder, groups=GROUPS, sites=SITES)
    assert found == [
        "attention.png", "attention.tsv", "attention_difference.png",
        "attribution.png", "attribution.tsv", "attribution_difference.png",
    ]  # fmt: skip
    return folder


def test_tables_of_two_groups(two_groups):
    attention, attribution = figures()
    table = pd.read_csv(two_groups / "attention.tsv", sep="\t")
    assert len(table) == DEPTH * SIZE * SIZE
    row = table[(table.block == 2) & (table["from"] == "VisPeri") & (table.to == "VisCent")].iloc[0]
    names = network_names(ATLAS, NETWORKS)
    pair = attention[:, 1, names.index("VisPeri"), names.index("VisCent")]
    assert_allclose(row["all people"], np.nanmean(pair), rtol=1e-5)
    assert_allclose(row["control"], np.nanmean(pair[1::2]), rtol=1e-5)
    rois = pd.read_csv(two_groups / "attribution.tsv", sep="\t")
    assert tuple(rois.roi) == ATLAS.rois
    assert_allclose(rois["autism"], _nanmean(attribution.values[::2]), rtol=1e-4)
    expected = compare_groups(attribution.values, GROUPS == "control", SITES)
    assert_allclose(rois["control less autism"], expected.difference, rtol=1e-4)
    assert_allclose(rois["p_family"], expected.p_family, rtol=1e-4)
    assert "\tn/a\t" in (two_groups / "attribution.tsv").read_text()


def _nanmean(values: np.ndarray) -> np.ndarray:
    return np.array([np.mean(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan
                     for v in values.T])  # fmt: skip


def test_without_groups_nothing_is_compared(tmp_path):
    found = write(tmp_path)
    assert found == ["attention.png", "attention.tsv", "attribution.png", "attribution.tsv"]
    columns = pd.read_csv(tmp_path / "attribution.tsv", sep="\t").columns
    assert list(columns) == ["roi", "network", "unit", "all people"]
    assert set(pd.read_csv(tmp_path / "attribution.tsv", sep="\t").unit) == {"SD of age"}


def test_an_atlas_without_places_or_networks(tmp_path):
    bare = Atlas.from_names([f"r{i}" for i in range(len(ATLAS))])
    found = write(tmp_path, atlas=bare, groups=GROUPS)
    assert "attribution.tsv" in found and "attribution.png" not in found
    table = pd.read_csv(tmp_path / "attention.tsv", sep="\t")
    assert table["from"].iloc[0] == "cluster 1"


def test_pictures_have_colours_and_room(two_groups):
    for path in two_groups.glob("*.png"):
        picture = imread(path)[..., :3]
        assert min(picture.shape[:2]) > 250
        assert len(np.unique(picture @ [1, 256, 65536])) > 50
        assert (picture[[0, -1]] == 1).all() and (picture[:, [0, -1]] == 1).all()  # nothing cut


def test_names_of_the_default_atlas():
    names = network_names(load_atlas(), load_atlas().network_index)
    assert len(names) == 18 and names[0] == "no network" and "VisCent" in names


def test_groups_of_other_people(tmp_path):
    with pytest.raises(ValueError, match="group of each of 20 people, found 3; give one label"):
        write(tmp_path, groups=["a", "b", "a"])
