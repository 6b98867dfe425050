"""ROIs by name: the shipped table, 7-network order, foreign lists, tables of one's own."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared

from brainjepa_core.atlas import (
    DEFAULT_ATLAS,
    UNKNOWN,
    Atlas,
    load_atlas,
    names_in_7network_order,
    to_17network_names,
)

FINGERPRINT = "75e776bd6e646572d0736d8f7c7f8638d3257e55ec80c440c3c3ed39bbe1e946"
name_lists = st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, unique=True)


def test_default_atlas_is_50_subcortical_then_400_cortical_rois():
    atlas = load_atlas()
    assert (len(atlas), atlas.name) == (450, DEFAULT_ATLAS)
    assert all(not roi.startswith("17Networks_") for roi in atlas.rois[:50])
    assert all(roi.startswith("17Networks_") for roi in atlas.rois[50:])
    assert set(atlas.networks[:50]) == {UNKNOWN}
    assert len(set(atlas.networks[50:])) == 17 and UNKNOWN not in atlas.networks[50:]
    assert atlas.has_networks and atlas.network_index.max() == 17
    assert [atlas.hemispheres.count(side) for side in "LR"] == [225, 225]
    assert atlas.hemispheres[50:] == ("L",) * 200 + ("R",) * 200


def test_centroids_lie_in_their_hemisphere():
    atlas = load_atlas()
    x = np.array(atlas.centroids)[:, 0]
    assert np.array_equal(x < 0, np.array(atlas.hemispheres) == "L")
    assert np.abs(atlas.centroids).max() < 110


def test_fingerprint_is_stable_and_depends_on_names_and_order():
    atlas = load_atlas()
    assert atlas.fingerprint == FINGERPRINT  # a checkpoint of any release carries it
    assert Atlas.from_names(atlas.rois, "another name").fingerprint == FINGERPRINT
    assert Atlas.from_names(atlas.rois[::-1]).fingerprint != FINGERPRINT


def test_names_alone_carry_network_and_hemisphere():
    atlas = load_atlas()
    named = Atlas.from_names(atlas.rois)
    assert (named.networks, named.hemispheres) == (atlas.networks, atlas.hemispheres)
    assert not Atlas.from_names(["cc200_1", "cc200_2"]).has_networks
    assert Atlas.from_names(["Net3_001", "Net4_001"]).networks == ("Net3", "Net4")
    assert Atlas.from_names(["HIP-head-m-rh", "THA_lh", "cc200_1"]).hemispheres == ("R", "L", "n/a")


def test_7network_order_equals_the_cifti_files_order():
    path = shared("data", "atlases", "map_7net_to_17net_450.tsv")
    with path.open() as stream:
        published = {
            int(row["label_17net"]): int(row["label_7net"])
            for row in csv.DictReader(stream, delimiter="\t")
        }
    rows = load_atlas().rows_of(names_in_7network_order())
    assert [published[label] - 1 for label in range(1, 451)] == rows.tolist()
    assert (rows[50:] != np.arange(50, 450)).sum() == 396


def test_7network_names_become_17network_names_of_the_same_parcels():
    label_file = shared(
        "data", "atlases", "Schaefer2018_400Parcels_7Networks_order_Tian_Subcortex_S3_label.txt"
    )
    names = label_file.read_text().splitlines()[::2]  # each is followed by a line of colours
    assert to_17network_names(names) == names_in_7network_order()
    assert to_17network_names(load_atlas().rois) == load_atlas().rois
    assert to_17network_names(["cc200_1"]) == ("cc200_1",)


def test_foreign_names_make_an_atlas():
    roi = np.load(shared("data", "abide", "KKI.npz"))["roi"]
    atlas = Atlas.from_names(roi, "CC200 + HO")
    assert len(atlas) == 310 and atlas.rois == tuple(roi.tolist())
    assert set(atlas.networks) == set(atlas.hemispheres) == {UNKNOWN}
    assert not atlas.has_networks and atlas.centroids is None


@given(name_lists, st.randoms(use_true_random=False))
def test_any_list_of_different_names_is_an_atlas(names, random):
    atlas = Atlas.from_names(names)
    assert len(atlas.networks) == len(atlas.hemispheres) == len(atlas) == len(names)
    assert set(atlas.hemispheres) <= {"L", "R", UNKNOWN}
    shuffled = random.sample(names, len(names))
    back = np.array(shuffled, object)[atlas.rows_of(shuffled)]
    assert tuple(back) == atlas.rois
    part = atlas.take(shuffled[: len(names) // 2 + 1])
    assert part.rois == tuple(shuffled[: len(names) // 2 + 1])
    assert part.networks == tuple(atlas.networks[names.index(n)] for n in part.rois)


def test_rows_of_marks_missing_rois_and_refuses_strangers():
    atlas = Atlas.from_names(["a", "b", "c"])
    assert atlas.rows_of(["c", "x", "a"]).tolist() == [2, -1, 0]
    with pytest.raises(ValueError, match=r"atlas 'named list' such as a, b, c, found x, y;"):
        atlas.rows_of(["x", "y"])
    with pytest.raises(ValueError, match=r"expected each ROI once, found a repeated"):
        atlas.rows_of(["a", "b", "a"])


def test_take_keeps_everything_that_belongs_to_a_roi():
    atlas = load_atlas()
    rows = [449, 3, 70]
    part = atlas.take([atlas.rois[row] for row in rows])
    assert part.name.endswith("[3]")
    for column in ("rois", "networks", "hemispheres", "centroids"):
        assert getattr(part, column) == tuple(getattr(atlas, column)[row] for row in rows)
    with pytest.raises(ValueError, match=r"expected ROIs of atlas .* found nowhere; spell them"):
        atlas.take([atlas.rois[0], "nowhere"])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "b", "a"], "repeated: a;"),
        ([f"r{i // 2}" for i in range(10)], "repeated: r0, r1, r2 and 2 more"),
        ([], "an empty list or name"),
        (["a", " "], "an empty list or name"),
    ],
)
def test_names_are_non_empty_and_different(names, found):
    with pytest.raises(ValueError, match=f"non-empty and different, found {found}"):
        Atlas.from_names(names)


def test_every_roi_has_every_column():
    with pytest.raises(ValueError, match=r"hemisphere and centroid for each of 2 ROIs, .*\[1, 2\]"):
        Atlas("x", ("a", "b"), ("n/a",), ("L", "R"))


def test_table_of_ones_own(tmp_path):
    table = tmp_path / "mine.tsv"
    table.write_text(
        "\ufeffname\tnetwork\themisphere\tx\ty\tz\na-lh\tVis\t\t-1\t2\t3\nb\t\tR\t1\t2\t3\n"
    )
    atlas = load_atlas(table)
    assert (atlas.name, atlas.rois) == ("mine", ("a-lh", "b"))
    assert (atlas.networks, atlas.hemispheres) == (("Vis", UNKNOWN), ("L", "R"))
    assert atlas.centroids == ((-1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    table.write_text("name\nonly\n")
    assert load_atlas(str(table)).rois == ("only",)
    table.write_text("roi\nonly\n")
    with pytest.raises(ValueError, match="column 'name', found roi in atlas '"):
        load_atlas(table)
    table.write_text("name\tx\ty\tz\na\t1\t2\tn/a\n")
    with pytest.raises(ValueError, match="x, y and z of every ROI in mm"):
        load_atlas(table)
    table.write_text("name\tnetwork\tname\na\tn\tb\n")
    with pytest.raises(ValueError, match="each column once, found 'name' again in line 1; rename"):
        load_atlas(table)


def test_unknown_atlas_says_what_there_is():
    with pytest.raises(ValueError, match=f"'{DEFAULT_ATLAS}' or a .tsv file, found 'aal'"):
        load_atlas("aal")


def test_a_table_that_is_not_there_or_was_not_fetched(tmp_path):
    table = tmp_path / "rois.tsv"
    with pytest.raises(ValueError, match=r"ROI names 'rois.tsv' in UTF-8, found no such file; "):
        load_atlas(table)
    table.symlink_to(".git/annex/objects/xx/rois.tsv")
    with pytest.raises(ValueError, match=r"found a link to a file that is not there \(datalad get"):
        load_atlas(table)
    table.unlink()
    table.write_bytes("name\nGehörrinde\n".encode("latin-1"))
    with pytest.raises(ValueError, match="found bytes that are not text in UTF-8; correct"):
        load_atlas(table)
