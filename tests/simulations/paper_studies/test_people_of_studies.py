"""Whose scans a model of a study is made of: shares within one another, sides that share nobody."""

from __future__ import annotations

import pytest

from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.paper_studies.models import names_of, people_of_share
from brainjepa_simulations.paper_studies.settings import PaperStudy, merge, study_file
from brainjepa_simulations.paper_studies.sides import directions


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    cohort = CohortSettings(
        sites=3, subjects_per_site=(9, 6, 4), rois=12, networks=5, latents=3, frames=80
    )
    paths = write_cohort(cohort, tmp_path_factory.mktemp("stores"))
    return Windows([ScanStore.open(path) for path in paths], WindowSettings(frames=32))


def test_a_smaller_share_is_part_of_a_larger_one(windows):
    everybody = names_of(windows)
    shares = [set(people_of_share(windows, share, seed=3)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert shares[0] < shares[1] < shares[2] < shares[3] == set(everybody)
    sites = sorted({site for site, _ in everybody})
    assert [sum(s == site for s, _ in shares[2]) for site in sites] == [4, 3, 2]
    assert [sum(s == site for s, _ in shares[0]) for site in sites] == [1, 1, 1]
    assert set(people_of_share(windows, 0.5, seed=4)) != shares[2]


def test_halves_of_the_sites_go_both_ways(windows):
    there, back = directions(windows, "site")
    assert there.name == "second half to first half" and back.name == "first half to second half"
    assert (there.across.tested == ~back.across.tested).all()
    assert not {site for site, _ in there.training} & {site for site, _ in back.training}
    assert abs(len(there.training) - len(back.training)) <= 4


def test_each_ancestry_is_told_by_the_others(windows):
    found = directions(windows, "ancestry")
    assert [one.name for one in found] == ["B, C to A", "A, C to B", "A, B to C"]
    assert sum(int(one.across.tested.sum()) for one in found) == windows.subjects
    for one in found:
        assert len(one.training) + one.across.tested.sum() == windows.subjects
    with pytest.raises(ValueError, match="two values of 'religion' to go from some to others, fo"):
        directions(windows, "religion")


def test_studies_that_do_not_fit():
    from yaml import safe_load

    told = safe_load(study_file("share").read_text())
    with pytest.raises(ValueError, match="expected the same windows in all variants"):
        other = {"pretraining": {"windows": {"frames": 128}}}
        PaperStudy.model_validate(merge(told, {"variants": {"longer": other}}))
    with pytest.raises(ValueError, match=r"variants\.25 % of people: .*preset"):
        PaperStudy.model_validate(
            merge(told, {"variants": {"25 % of people": {"pretraining": {"preset": "huge"}}}})
        )
    with pytest.raises(ValueError, match="expected one variant with kind: transfer, found 4"):
        PaperStudy.model_validate({**told, "kind": "transfer"})


@pytest.mark.parametrize(
    ("name", "changes", "error"),
    [
        (
            "transfer",
            {"variants": {"JEPA": {"share": 0.5}}},
            r"no variants\.JEPA\.share with kind: t",
        ),
        (
            "consortium",
            {"variants": {"JEPA": {"share": 0.5}}},
            "share with kind: consortium, which",
        ),
        (
            "transfer",
            {"protocol": {"kind": "kfold", "folds": 2}},
            "no protocol with kind: transfer",
        ),
        ("attention", {"tasks": ["age", "diagnosis"]}, "one task with kind: attention, found 2"),
        ("attention", {"finetune": {}}, "expected no finetune with kind: attention"),
        ("attention", {"read_by": ["published probe"]}, "expected no read_by with kind: attention"),
        ("masks", {"people": 12}, "expected no people with kind: pretraining"),
        (
            "share",
            {"read_by": ["fine-tuned"]},
            "finetune and fine-tuned in read_by together, found",
        ),
        ("share", {"finetune": {}}, "finetune and fine-tuned in read_by together, found one of th"),
        ("share", {"read_by": ["probes"]}, "found 'probes'; did you mean probe?"),
        ("share", {"read_by": ["xyz"]}, "found 'xyz'; take some of these"),
    ],
)
def test_what_a_kind_never_reads_is_refused(name, changes, error):
    from yaml import safe_load

    told = safe_load(study_file(name).read_text())
    with pytest.raises(ValueError, match=error):
        PaperStudy.model_validate(merge(told, changes))
