"""From a painted tree to a store: truth, resuming, settings, exclusion, derivatives."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import numpy as np
import pytest
import yaml
from painted_sites import change, files_of, painted, prepared, site_of, store_of

from brainjepa_client.preparing import prepare as prepare_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.preparing.scan import Job, prepare_scan
from brainjepa_client.preparing.scan_reports import Reports
from brainjepa_client.quality.table import ScanReport
from brainjepa_client.quality.tables_and_page import write_site_quality
from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.storing.kept_aligned import ALIGNED, KeptAligned
from brainjepa_core.signals.storing.vectors import import_vectors, vectors_of_store
from brainjepa_core.signals.tables.series_files import read_series
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def tree(tmp_path):
    return painted(tmp_path / "site", contamination="simple_motion")


@pytest.fixture
def done(tmp_path):
    """The same after ``site prepare``."""
    return prepared(tmp_path / "site", contamination="simple_motion")


def run(tree, people=()) -> list[ScanReport]:
    return list(Preparation.of(site_of(tree), people).run())


def test_the_store_holds_what_was_painted(tree):
    reports = run(tree)
    assert [report.status for report in reports] == ["included"] * len(tree.scans)
    store = store_of(tree)
    assert [record.key for record in store.records] == sorted(tree.scans)
    for record in store.records:
        painted_scan = tree.scans[record.key]
        assert record.tr == painted_scan.tr and record.missing == ()
        np.testing.assert_allclose(store.series(record), painted_scan.clean, rtol=0, atol=0.05)
        assert record.qc["mean_fd"] == pytest.approx(painted_scan.mean_fd)
        assert {"age", "sex", "diagnosis", "latent_1"} <= record.phenotypes.keys()


def test_several_processes_make_the_same_store(done, tmp_path):
    alone = files_of(done.folder / "store")
    change(done, processes=2, quality=str(tmp_path / "other-quality"))
    content = done.site.read_text().replace("store: store", f"store: {tmp_path}/other")
    done.site.write_text(content)
    run(done)
    assert files_of(tmp_path / "other") == alone


def test_finished_scans_are_not_done_again(done, monkeypatch):
    before = files_of(done.folder / "store")
    monkeypatch.setattr(prepare_module, "prepare_scan", lambda *_: pytest.fail("done again"))
    again = Preparation.of(site_of(done))
    assert (again.found, again.finished, again.waiting) == (len(done.scans), len(done.scans), ())
    assert list(again.run()) == [] and files_of(done.folder / "store") == before


def test_a_scan_in_the_store_without_a_report_is_done_again_and_changes_nothing(done):
    before = files_of(done.folder / "store")
    report = next((done.folder / "store-quality" / "reports").glob("*.json"))
    for content in ("", "{}", "[]", None):
        report.unlink() if content is None else report.write_text(content)
        assert len(run(done)) == 1
    assert files_of(done.folder / "store") == before


def test_a_failed_scan_is_tried_again_and_comes_in_once_mended(tree):
    first = next(iter(tree.scans.values()))
    whole = first.bold.read_bytes()
    first.bold.write_bytes(whole[: len(whole) // 2])
    reports = run(tree)
    assert [report.status for report in reports].count("failed") == 1
    assert len(store_of(tree).records) == len(tree.scans) - 1
    first.bold.write_bytes(whole)
    assert [report.status for report in run(tree)] == ["included"]
    assert {record.key for record in store_of(tree).records} == set(tree.scans)


def test_a_scan_that_was_preprocessed_again_takes_the_place_of_the_old_one(done):
    first, second = list(done.scans.values())[:2]
    first.bold.write_bytes(second.bold.read_bytes())
    first.mask.write_bytes(second.mask.read_bytes())
    (report,) = run(done)
    assert report.status == "included"
    store = store_of(done)
    assert [record.key for record in store.records] == sorted(done.scans) and not store.verify()
    one = store.series(store.records[0])
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, second.clean, strict=True)]
    assert np.mean(alike) > 0.5 > abs(np.corrcoef(one[0], first.clean[0])[0, 1])


def test_only_some_people(tree):
    person = next(iter(tree.scans))[0]
    reports = run(tree, [person])
    assert {report.subject for report in reports} == {person}
    with pytest.raises(ValueError, match="expected scans of everybody named, found none of "):
        run(tree, ["sub-nobody"])


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"cleaning": {"preset": "none"}}, "prepare.cleaning.preset"),
        ({"exclude": {"mean_fd": 0.1}}, "prepare.exclude.mean_fd"),
    ],
)
def test_a_store_has_one_kind_of_scans(done, changes, field):
    change(done, **changes)
    with pytest.raises(
        ValueError,
        match=f"expected the settings that the store was prepared with, found others in {field}; ",
    ):
        run(done)


def test_an_imported_store_is_not_added_to(done):
    (done.folder / "store" / "preparation.json").unlink()
    with pytest.raises(ValueError, match="expected an empty folder or a store that prepare made"):
        run(done)


def test_what_rules_leave_out_has_its_reason_and_is_finished(tree):
    change(tree, exclude={"mean_fd": 0.001})
    reports = run(tree)
    assert {report.status for report in reports} == {"excluded"}
    assert all("at most 0.001 allowed (exclude.mean_fd)" in r.reasons[0] for r in reports)
    assert store_of(tree).records == () and run(tree) == []


def test_a_wrong_order_is_left_out(tree, monkeypatch):
    from brainjepa_client.preparing import scan as module
    from brainjepa_core.gradients import OrderAlarm

    alarm = OrderAlarm(0.1, "wrong order", "neighbour score 0.10: wrong")
    monkeypatch.setattr(module, "neighbour_alarm", lambda *_: alarm)
    reports = run(tree)
    assert {r.reasons for r in reports} == {("neighbour score 0.10: wrong (exclude.wrong_order)",)}
    assert reports[0].quality["order_score"] == 0.1


def test_reports_of_files_that_are_gone_go_too(tree):
    first = next(iter(tree.scans.values()))
    first.bold.write_bytes(b"")
    run(tree)
    for file in first.bold.parent.iterdir():
        file.unlink()
    run(tree)
    found = [report.key for report in Reports(site_of(tree).quality).all()]
    assert found == sorted(set(tree.scans) - {first.key})


def test_derivatives(tree, tmp_path):
    change(tree, derivatives=str(tmp_path / "derivatives"))
    run(tree)
    root = tmp_path / "derivatives"
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Version"]
    scan = next(iter(tree.scans.values()))
    stem = (
        f"{scan.subject}_ses-{scan.session}_task-rest_space-MNI152NLin2009cAsym_atlas-atlas_"
        "stat-mean_timeseries"
    )
    folder = root / scan.subject / f"ses-{scan.session}" / "func"
    atlas = load_atlas(tree.atlas_table)
    table = read_series(folder / f"{stem}.tsv", atlas.rois)
    np.testing.assert_allclose(table.T, scan.clean, rtol=1e-6, atol=0.05)
    assert (folder / f"{stem}.tsv").read_text().split("\n")[0].split("\t") == list(atlas.rois)
    facts = json.loads((folder / f"{stem}.json").read_text())
    assert facts["RepetitionTime"] == scan.tr and facts["Cleaning"]["preset"] == "simple_motion"
    assert facts["Sources"][0].startswith(f"bids::{scan.subject}/")
    assert "trans_x" in facts["ConfoundRegressors"] and facts["Coverage"] == {}


def test_what_nobody_foresaw_fails_one_scan_only(tree, monkeypatch):
    from brainjepa_client.preparing import scan as module

    def breaks(*_):
        raise RuntimeError("no more\nmemory")

    monkeypatch.setattr(module, "scan_quality", breaks)
    site = site_of(tree).preparation()
    scan = Preparation.of(site_of(tree)).waiting[0].scan
    report = prepare_scan(site, load_atlas(site.atlas), tree.folder, tree.folder, Job(scan)).report
    assert report.status == "failed" and report.reasons == (
        f"{scan.image.name}: expected a scan that can be prepared, found a defect (no more "
        "memory); look at the file; if it is sound, tell the makers of this tool",
    )


def test_motion_that_only_phenotypes_tell_is_believed(tree):
    scans = list(tree.scans.values())
    for scan in scans:
        scan.confounds.unlink()
    rows = tree.participants.read_text().splitlines()
    moved = scans[0].subject
    told = [row + ("\t0.9" if row.startswith(moved) else "\t0.1") for row in rows[1:]]
    tree.participants.write_text("\n".join([rows[0] + "\tmean_fd", *told]) + "\n")
    change(tree, cleaning={"preset": "none"})
    reports = {report.subject: report for report in run(tree)}
    assert reports[moved].reasons == ("mean FD 0.9 mm, at most 0.5 allowed (exclude.mean_fd)",)
    assert reports[scans[-1].subject].quality["mean_fd"] == 0.1
    assert reports[moved].coverage == (1.0,) * 12


def test_corrected_phenotypes_reach_the_store(done):
    before = {record.key: record.phenotypes for record in store_of(done).records}
    person = store_of(done).records[0].subject
    path = site_of(done).preparation().input.folder / "participants.tsv"
    header, *rows = path.read_text().splitlines()
    place = header.split("\t").index("age")
    corrected = []
    for row in rows:
        cells = row.split("\t")
        if cells[0].removeprefix("sub-") == person.removeprefix("sub-"):
            cells[place] = "99"
        corrected.append("\t".join(cells))
    path.write_text("\n".join([header, *corrected]) + "\n")
    again = Preparation.of(site_of(done))
    own = [key for key in before if key[0] == person]
    assert again.waiting == ()
    scans = f"{len(own)} scan{'s' if len(own) > 1 else ''}"
    assert f"phenotypes of {scans} in the store were corrected" in again.notes()
    after = {record.key: record.phenotypes for record in store_of(done).records}
    assert all(after[key] == {**before[key], "age": 99} for key in own)
    assert all(after[key] == before[key] for key in before.keys() - set(own))
    assert Preparation.of(site_of(done)).changes == ()


def test_scans_whose_files_are_gone_are_named_and_stay_until_told(done):
    derivatives = done.folder / "derivatives"
    change(done, derivatives=str(derivatives))
    shutil.rmtree(done.folder / "store-quality" / "reports")  # so that derivatives are written
    run(done)
    gone = [key for key in done.scans if key[0] == store_of(done).records[0].subject]
    for key in gone:
        done.scans[key].bold.unlink()
    again = Preparation.of(site_of(done))
    number = "1 scan" if len(gone) == 1 else f"{len(gone)} scans"
    assert again.changes == (
        f"files of {number} of 1 person in the store are gone, such as "
        f"{' '.join(filter(None, gone[0]))}; bring them back, take the scans out (site prepare "
        "--drop-gone), or remove a person who has withdrawn (site remove)",
    )
    assert set(gone) <= {record.key for record in store_of(done).records}
    assert len(list(derivatives.rglob("*_timeseries.tsv"))) == len(done.scans)
    dropped = Preparation.of(site_of(done), drop_gone=True)
    assert dropped.changes[0].startswith(f"{number} of 1 person left the store, such as ")
    left = set(done.scans) - set(gone)
    assert {record.key for record in store_of(done).records} == left
    assert len(list(derivatives.rglob("*_timeseries.tsv"))) == len(left)
    quality = done.folder / "store-quality"
    assert len(list((quality / "figures").iterdir())) == len(left)
    assert Preparation.of(site_of(done)).changes == ()


def test_aligned_scans_follow_the_store(done):
    site = site_of(done)
    kept = KeptAligned(site.state / ALIGNED, 10**9)

    def aligned() -> int:
        windows = Windows([store_of(done)], WindowSettings(frames=16, tr=1.0), kept=kept)
        for person in range(windows.subjects):
            windows.aligned(person)
        return count()

    def count() -> int:
        return len(list(kept.place.rglob("*.f32")))

    assert aligned() == len(done.scans)
    one, other = list(done.scans)[:2]
    done.scans[one].bold.unlink()
    Preparation.of(site_of(done))
    assert count() == len(done.scans)  # a disk may just not be mounted
    Preparation.of(site_of(done), drop_gone=True)
    assert count() == len(done.scans) - 1
    done.scans[other].bold.write_bytes(b"damaged")
    run(done)
    assert other not in {record.key for record in store_of(done).records}
    assert count() == len(done.scans) - 2 == aligned()


def test_one_of_two_scans_whose_files_are_gone_is_named(done):
    twice = next(k for k in done.scans if sum(k[0] == other[0] for other in done.scans) > 1)
    done.scans[twice].bold.unlink()
    note = Preparation.of(site_of(done)).changes[0]
    assert note.startswith(f"files of 1 scan of 1 person in the store are gone, such as {twice[0]}")


def test_a_second_prepare_is_refused_while_one_is_at_work(tree):
    working = Preparation.of(site_of(tree)).run()
    next(working)
    with pytest.raises(BlockingIOError, match="expected to be alone in writing into the store"):
        Preparation.of(site_of(tree))
    working.close()
    assert len(Preparation.of(site_of(tree)).waiting) == len(tree.scans) - 1


def test_corrected_motion_of_a_table_is_judged_anew(tree):
    """fMRIPrep without confounds: the table's mean FD decides who is in."""
    for scan in tree.scans.values():
        scan.confounds.unlink()
    rows = tree.participants.read_text().splitlines()

    def tell(value: str) -> None:
        told = [f"{row}\t{value}" for row in rows[1:]]
        tree.participants.write_text("\n".join([rows[0] + "\tmean_fd", *told]) + "\n")

    change(tree, cleaning={"preset": "none"})
    tell("0.1")
    assert {report.status for report in run(tree)} == {"included"}
    tell("0.9")
    assert {report.status for report in run(tree)} == {"excluded"}
    assert store_of(tree).records == ()


def test_a_scan_without_a_mask_leaves_once_masks_are_asked_for(tree):
    next(iter(tree.scans.values())).mask.unlink()
    content = yaml.safe_load(tree.site.read_text())
    content["prepare"]["input"]["mask"] = "optional"
    tree.site.write_text(yaml.safe_dump(content))
    assert {report.status for report in run(tree)} == {"included"}
    del content["prepare"]["input"]["mask"]
    tree.site.write_text(yaml.safe_dump(content))
    assert [report.status for report in run(tree)] == ["failed"]
    assert len(store_of(tree).records) == len(tree.scans) - 1


def test_a_label_table_beside_the_image_counts_by_its_content(done):
    image = site_of(done).preparation().input.label_image
    beside = image.with_name(image.name.removesuffix(".nii.gz") + ".tsv")
    assert beside.exists()
    beside.write_text(beside.read_text() + "\n")
    with pytest.raises(ValueError, match=r"found others in prepare\.input\.label_table; go on"):
        Preparation.of(site_of(done))


def test_a_damaged_report_is_made_anew(done):
    first, *_ = (done.folder / "store-quality" / "reports").glob("*.json")
    first.write_text("{")
    counts, _ = write_site_quality(site_of(done))  # from the store, where the report is damaged
    assert counts == {"included": len(done.scans)}
    assert len(run(done)) == 1


def test_the_table_counts_what_the_store_holds(done):
    """A kill may come between the store and a report."""
    first, second, *_ = store_of(done).records
    store_of(done).remove([first.key])
    report = Reports(done.folder / "store-quality")
    path = report._path(second.key)
    content = json.loads(path.read_text())
    content["report"]["status"] = "excluded"
    path.write_text(json.dumps(content))
    counts, _ = write_site_quality(site_of(done))
    assert counts == {"included": len(done.scans) - 1}


def test_what_is_left_out_or_fails_now_leaves_the_store(done):
    first, second, *_ = done.scans.values()
    first.bold.write_bytes(first.bold.read_bytes()[:1000])
    text = second.confounds.read_text().splitlines()
    place = text[0].split("\t").index("framewise_displacement")
    moved = [line.split("\t") for line in text]
    for cells in moved[2:]:
        cells[place] = "3.0"
    second.confounds.write_text("\n".join("\t".join(cells) for cells in moved) + "\n")
    assert [report.status for report in run(done)] == ["failed", "excluded"]
    keys = {record.key for record in store_of(done).records}
    assert keys == set(list(done.scans)[2:])


def test_vectors_of_who_has_lost_the_last_scan_go_in_the_same_run(done, tmp_path):
    subjects = [subject for subject, _, _ in done.scans]
    key = next(key for key in done.scans if subjects.count(key[0]) == 1)
    table = tmp_path / "t1.csv"
    rows = "".join(f"{subject},1\n" for subject in dict.fromkeys(subjects))
    table.write_text(f"participant_id,x\n{rows}")
    import_vectors(store_of(done), "t1", table)
    done.scans[key].bold.write_bytes(done.scans[key].bold.read_bytes()[:1000])
    assert [report.status for report in run(done)] == ["failed"]
    kept = vectors_of_store(store_of(done).path)["t1"].subjects
    assert set(kept) == set(subjects) - {key[0]}


def test_a_corrected_sidecar_is_taken_up(done):
    first = next(iter(done.scans.values()))
    sidecar = first.bold.with_name(first.bold.name.split(".")[0] + ".json")
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**content, "RepetitionTime": content["RepetitionTime"] + 0.001}))
    assert len(Preparation.of(site_of(done)).waiting) == 1


def test_an_atlas_image_counts_by_its_content_not_by_its_path(done, tmp_path):
    settings = site_of(done).preparation()
    moved = tmp_path / "moved" / settings.input.label_image.name
    moved.parent.mkdir()
    shutil.copy(settings.input.label_image, moved)
    beside = settings.input.label_image.with_name(moved.name.split(".")[0] + ".tsv")
    if beside.exists():
        shutil.copy(beside, moved.parent)
    content = yaml.safe_load(done.site.read_text())
    content["prepare"]["input"]["label_image"] = str(moved)
    done.site.write_text(yaml.safe_dump(content))
    assert Preparation.of(site_of(done)).waiting == ()
    with moved.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"found others in prepare\.input\.label_image; go on"):
        Preparation.of(site_of(done))


def test_vectors_of_people_whose_scans_are_still_to_come_stay(done):
    labels = sorted({key[0] for key in done.scans})
    text = "participant_id,x\n" + "".join(f"{label},1\n" for label in labels)
    (done.folder / "t1.csv").write_text(text)
    store = store_of(done)
    import_vectors(store, "t1", done.folder / "t1.csv")
    store.remove([record.key for record in store.records])  # as after a change of settings
    with closing(Preparation.of(site_of(done)).run()) as killed:
        next(killed)
    Preparation.of(site_of(done))
    assert sorted(vectors_of_store(store.path)["t1"].subjects) == labels
    list(Preparation.of(site_of(done), labels[:1]).run())  # some people only, and to its end
    assert sorted(vectors_of_store(store.path)["t1"].subjects) == labels
