"""Templates by the names that files of the field have."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainjepa_core.signals.images.templates import require_template, template_note, template_of
from brainjepa_core.signals.problems import ScanProblem

C2009, FSL = "MNI152NLin2009cAsym", "MNI152NLin6Asym"
SCHAEFER = "Schaefer2018_400Parcels_17Networks_order"


@pytest.mark.parametrize(
    "name, template",
    [
        (f"tpl-{FSL}_res-02_atlas-Schaefer2018_desc-400Parcels17Networks_dseg.nii.gz", FSL),
        (f"atlas-A_space-{C2009}_dseg.nii", C2009),
        ("atlas-A_space-FSLMNI152_dseg.nii.gz", FSL),
        ("atlas-A_space-Own_dseg.nii.gz", "Own"),
        (f"{SCHAEFER}_Tian_Subcortex_S3_{FSL}_2mm.nii.gz", FSL),
        (f"{SCHAEFER}_Tian_Subcortex_S3_3T_{C2009}_2mm.nii.gz", C2009),
        ("Tian_Subcortex_S3_3T_2009cAsym.nii.gz", C2009),
        (f"{SCHAEFER}_FSLMNI152_2mm.nii.gz", FSL),
        (f"{SCHAEFER}_FSL_MNI152_FreeSurferConformed_1mm.nii.gz", FSL),
        ("schaefer_on_MNI152_T1_2mm.nii.gz", FSL),
        ("mni_icbm152_nlin_asym_09c_labels.nii", C2009),
        ("mni_icbm152_CerebrA_tal_nlin_sym_09c.nii", "MNI152NLin2009cSym"),
        ("icbm_2009a_nlin_asym.nii", "MNI152NLin2009aAsym"),
        ("AtlasMNI152NLin2009cAsym2mm.nii.gz", C2009),
        ("atlas_MNI152NLin6Sym.nii.gz", "MNI152NLin6Sym"),
        ("atlas_MNI152Lin.nii.gz", "MNI152Lin"),
        ("tpl-MNIPediatricAsym_cohort-3_atlas-A_dseg.nii.gz", "MNIPediatricAsym"),
        ("UNCInfant_atlas.nii.gz", "UNCInfant"),
        ("atlas-4S456Parcels_space-fsLR_den-91k_dseg.dlabel.nii", "fsLR"),
        ("atlas.nii.gz", None),
        ("Tian_Subcortex_S3_3T.nii.gz", None),
        ("atlas-Schaefer_space-MNI_dseg.nii.gz", None),
        ("AAL_SPM12.nii.gz", None),
        (f"atlas_from-{FSL}_to-{C2009}.nii.gz", None),
    ],
)
def test_template_of_a_name(name, template):
    assert template_of(Path("a", C2009, name)) == template  # folders do not count
    assert bool(template_note(Path(name), C2009)) == (template is None)


def test_an_atlas_of_another_template_is_refused(tmp_path):
    own, other = Path(f"S3_{C2009}_2mm.nii.gz"), Path("order_FSLMNI152_2mm.nii.gz")
    require_template(own, C2009, None)
    require_template(other, FSL, None)
    require_template(Path("atlas.nii.gz"), C2009, "3")
    with pytest.raises(
        ScanProblem,
        match=r"order_FSLMNI152_2mm.nii.gz: expected a label image in the scans' space "
        "MNI152NLin2009cAsym, found one in MNI152NLin6Asym by its name; give the atlas in that",
    ):
        require_template(other, C2009, None)


def test_an_atlas_of_another_cohort_is_refused():
    atlas = Path("tpl-MNIInfant_cohort-1_dseg.nii.gz")
    require_template(atlas, "MNIInfant", None)
    require_template(atlas, "MNIInfant", "1")
    with pytest.raises(ScanProblem, match=r"scans' cohort 2 \(input.cohort\), found one of cohor"):
        require_template(atlas, "MNIInfant", "2")


def test_what_is_not_known_is_told():
    assert template_note(Path("atlas.nii.gz"), C2009) == [
        "the name of label image atlas.nii.gz tells no template, so nothing shows that it is in "
        "the scans' space MNI152NLin2009cAsym: make sure, or write it into the name "
        "(tpl-MNI152NLin2009cAsym)"
    ]
