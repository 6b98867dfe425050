"""ROI names as tools spell them: each finds its ROI, none finds another's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas, to_17network_names
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names

ATLAS = load_atlas()
CORTEX = ATLAS.rois[50:]


def names_7networks() -> list[str]:
    """All 450 names in the order of 7-network files, from Tian's own list."""
    labels = "Schaefer2018_400Parcels_7Networks_order_Tian_Subcortex_S3_label.txt"
    return shared("data", "atlases", labels).read_text().splitlines()[::2]


def short(names) -> list[str]:
    return [name.split("Networks_")[-1] for name in names]


def test_names_with_and_without_prefix_mean_the_same_parcel():
    assert to_atlas_names(short(CORTEX), ATLAS) == list(CORTEX)
    seven = [name for name in names_7networks() if "Networks" in name]
    expected = list(to_17network_names(seven))
    assert len(set(expected)) == 400
    assert to_atlas_names(seven, ATLAS) == to_atlas_names(short(seven), ATLAS) == expected
    # the two systems share no name, so that a list without prefixes says which one it is
    assert set(short(seven)).isdisjoint(short(CORTEX))


def test_pairs_of_atlaspack():
    """Rows of atlas-4S456Parcels_dseg.tsv (PennLINC/AtlasPack), label and label_17network."""
    pairs = {
        "RH_Vis_9": "17Networks_RH_DorsAttnA_TempOcc_3",
        "RH_Vis_17": "17Networks_RH_DefaultC_Rsp_1",
        "RH_SomMot_20": "17Networks_RH_SalVentAttnA_ParMed_1",
        "RH_DorsAttn_Post_15": "17Networks_RH_ContC_pCun_5",
        "RH_Limbic_TempPole_7": "17Networks_RH_DefaultC_PHC_1",
        "RH_Cont_PFCl_11": "17Networks_RH_ContB_PFCld_1",
    }
    others = ["LH-Pu", "LH_Hippocampus", "RH-SNc_PBP_VTA", "Cerebellar_Region1"]
    assert to_atlas_names([*pairs, *others], ATLAS) == [*pairs.values(), *others]


@given(st.data())
def test_spelling_does_not_matter(data):
    roi = data.draw(st.sampled_from(ATLAS.rois))
    separator = st.sampled_from(["-", "_", " ", "__"])
    spelt = "".join(data.draw(separator) if c in "-_" else c for c in roi)
    spelt = data.draw(st.sampled_from([str, str.upper, str.lower, str.title]))(spelt)
    if roi in ATLAS.rois[:50] and data.draw(st.booleans()):
        spelt = f"{roi[-2:].upper()}-{roi[:-3]}"
    assert to_atlas_names([f" {spelt} "], ATLAS) == [roi]


@given(st.lists(st.sampled_from(ATLAS.rois), unique=True, min_size=1, max_size=60), st.data())
def test_rows_follow_their_names(rois, data):
    spelt = [data.draw(st.sampled_from([roi, *short([roi]), roi.upper()])) for roi in rois]
    values = np.array([[ATLAS.rois.index(roi)] * 2 for roi in rois])
    ordered = in_atlas_order(values, spelt, ATLAS)
    found = np.flatnonzero(np.isfinite(ordered[:, 0]))
    assert found.tolist() == sorted(values[:, 0]) and ordered.dtype == np.float64
    assert (ordered[found, 0] == found).all()


def test_two_names_of_one_roi_are_refused():
    text = "found 'LH_Vis_3' and '17Networks_LH_VisCent_ExStr_1' for 17Networks_LH_VisCent_ExStr_1;"
    with pytest.raises(ValueError, match=text):
        to_atlas_names(["LH_Vis_3", "17Networks_LH_VisCent_ExStr_1"], ATLAS)
    with pytest.raises(ValueError, match="found 'a' and 'a' for a; keep one"):
        to_atlas_names(["a", "b", "a"], Atlas.from_names(["a"]))


def test_an_atlas_whose_rois_differ_in_spelling_only_is_taken_literally():
    atlas = Atlas.from_names(["a-b", "a_b", "c-d"])
    assert to_atlas_names(["A b", "a_b", "c d"], atlas) == ["A b", "a_b", "c-d"]


def test_other_schaefer_parcellations_are_refused():
    """LH_Vis_1 of 100 parcels (4S156Parcels) is DefaultC_PHC_1, of 400 DorsAttnA_TempOcc_2."""
    hundred = [
        *(f"LH_Vis_{i}" for i in range(1, 10)),
        *(f"LH_SomMot_{i}" for i in range(1, 7)),
        "LH_SalVentAttn_FrOperIns_1",
        "RH_Default_PFCdPFCm_1",
    ]
    with pytest.raises(ValueError, match=r"the 400 Schaefer parcels .* found 100 parcels; another"):
        to_atlas_names(short(CORTEX)[:100], ATLAS)
    with pytest.raises(ValueError, match=r"found 18 parcels, 1 unknown such as LH_Vis_99; another"):
        to_atlas_names([*hundred, "LH_Vis_99"], ATLAS)
    with pytest.raises(ValueError, match="1 unknown such as 17Networks_LH_Limbic_OFC_1"):
        to_atlas_names([*CORTEX[:7], "17Networks_LH_Limbic_OFC_1"], ATLAS)  # names before 0.14.3
    assert to_atlas_names(hundred, ATLAS)[0] == "17Networks_LH_DorsAttnA_TempOcc_2"  # a part
    cortex = Atlas.from_names(CORTEX[:100])
    assert to_atlas_names(short(CORTEX[:100]), cortex) == list(CORTEX[:100])


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_names_are_kept_or_refused_with_a_reason(names):
    atlas = Atlas.from_names(["HIP-head-m-rh", "17Networks_LH_Vis_1"])
    try:
        assert len(to_atlas_names(names, atlas)) == len(names)
    except ValueError as error:
        assert str(error).startswith("expected ")
