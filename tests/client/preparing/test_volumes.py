"""Volumes beside series: what is in them, where they lie, and that they leave with their scan."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import resample_img
from painted_sites import change, files_of, painted, site_of, store_of

from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_client.preparing import prepare as prepare_module
from brainjepa_client.preparing import volumes_room
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.preparing.validate import validate
from brainjepa_core.signals.storing.scan_arrays import VOLUMES, volumes_path
from brainjepa_core.signals.storing.scan_table import array_digest

SMALL = {"size": [20, 18, 16], "mm": 3.5}

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def tree(tmp_path):
    tree = painted(tmp_path / "site", dummies=2)
    change(tree, volumes=SMALL)
    return tree


def run(tree):
    return list(Preparation.of(site_of(tree)).run())


def oracle(scan, grid, keep):
    """Volumes [F, X, Y, Z] by nilearn's resampling of the whole image."""
    image, mask = nib.load(scan.bold), nib.load(scan.mask)
    onto = {"target_shape": grid.size, "copy_header": True, "force_resample": True}
    values = resample_img(image, grid.affine, interpolation="linear", **onto).get_fdata()
    between = grid.affine.copy()
    between[:3, 3] += 1e-4  # half-way between two voxels the higher one counts
    brain = resample_img(mask, between, interpolation="nearest", **onto).get_fdata() > 0
    frames = np.moveaxis(values, -1, 0)
    known = frames[keep][:, brain]
    z = (frames - known.mean()) / known.std()
    z[~keep] = z[keep][0]  # before the first frame that is kept, it is held
    return np.where(brain, z, z[keep][:, brain].min()), brain


def test_they_are_those_of_an_image_that_is_resampled_whole(tree):
    assert {report.status for report in run(tree)} == {"included"}
    store = store_of(tree)
    for record in store.records:
        volumes = store.volumes(record)
        assert volumes.shape == (record.frames, 20, 18, 16) and volumes.dtype == np.float16
        assert isinstance(volumes, np.memmap) and not volumes.flags.writeable
        assert record.volumes.sha256 == array_digest(volumes)
        keep = np.arange(record.frames) >= 2
        expected, brain = oracle(tree.scans[record.key], record.volumes.grid, keep)
        assert 60 < brain.sum() < brain.size / 2
        np.testing.assert_allclose(volumes, expected, rtol=2e-3, atol=2e-3)
    assert store.verify() == []


def test_left_is_first_and_an_image_on_the_grid_is_cropped_and_nothing_else(tree, tmp_path):
    change(tree, volumes={"size": [21, 21, 21], "mm": 2})
    run(tree)
    store = store_of(tree)
    record = store.records[0]
    grid = record.volumes.grid
    assert nib.aff2axcodes(grid.affine) == ("L", "A", "S")
    scan = tree.scans[record.key]
    image = nib.load(scan.bold)
    towards = np.linalg.inv(grid.affine) @ image.affine
    brain = nib.load(scan.mask).get_fdata() > 0
    places = nib.affines.apply_affine(towards, np.argwhere(brain)).round(9)
    inside = ((places >= 0) & (places < 21)).all(1)
    assert inside.sum() > 40 and (places == places.round()).all()
    values = image.get_fdata()[brain]
    # Between voxels the grid has others, so that its mean and spread are known up to a line.
    found = store.volumes(record)[2:][:, *places[inside].astype(int).T]
    series = values[inside, 2:].T
    slope, level = np.polyfit(series.ravel(), found.ravel().astype(float), 1)
    np.testing.assert_allclose(found, slope * series + level, atol=2e-3)


def test_frames_that_are_dropped_from_the_series_have_no_volume(tree):
    change(tree, cleaning={"censored": "drop"})
    run(tree)
    store = store_of(tree)
    for record in store.records:
        assert record.frames == 58
        keep = np.arange(60) >= 2
        expected, _ = oracle(tree.scans[record.key], record.volumes.grid, keep)
        np.testing.assert_allclose(store.volumes(record), expected[2:], rtol=2e-3, atol=2e-3)


def test_several_processes_make_the_same_store(tree, tmp_path):
    run(tree)
    alone = files_of(tree.folder / "store")
    change(tree, processes=2, quality=str(tmp_path / "other-quality"))
    content = tree.site.read_text().replace("store: store", f"store: {tmp_path}/other")
    tree.site.write_text(content)
    run(tree)
    assert files_of(tmp_path / "other") == alone
    assert run(tree) == []


def test_nobody_who_leaves_the_store_leaves_a_volume_in_it(tree):
    run(tree)
    store = store_of(tree)
    folder = store.path / VOLUMES
    assert len(list(folder.iterdir())) == len(store.records) == 6
    withdrawn, dropped = store.records[0], store.records[-1]
    removal = remove_person(site_of(tree), withdrawn.subject)
    left = store_of(tree)
    assert removal.scans and {path.name for path in folder.iterdir()} == {
        volumes_path(left.path, record).name for record in left.records
    }
    shutil.rmtree(tree.scans[dropped.key].bold.parent)
    list(Preparation.of(site_of(tree), drop_gone=True).run())
    left = store_of(tree)
    assert not volumes_path(left.path, dropped).exists()
    assert len(list(folder.iterdir())) == len(left.records) and not left.verify()


def test_another_image_of_a_scan_has_its_own_volumes_and_the_old_ones_go(tree):
    run(tree)
    first, second = list(tree.scans.values())[:2]
    before = volumes_path(tree.folder / "store", store_of(tree).records[0])
    first.bold.write_bytes(second.bold.read_bytes())
    first.mask.write_bytes(second.mask.read_bytes())
    assert [report.status for report in run(tree)] == ["included"]
    store = store_of(tree)
    assert not before.exists() and not store.verify()
    assert len(list((store.path / VOLUMES).iterdir())) == len(store.records)


def test_a_scan_that_is_excluded_now_leaves_no_volume(tree):
    run(tree)
    first = next(iter(tree.scans.values()))
    first.bold.write_bytes(first.bold.read_bytes()[:1000])
    assert [report.status for report in run(tree)] == ["failed"]
    store = store_of(tree)
    assert len(list((store.path / VOLUMES).iterdir())) == len(store.records) == 5


def test_damage_shows_and_what_killed_runs_left_is_tidied_up(tree):
    run(tree)
    store = store_of(tree)
    folder = store.path / VOLUMES
    (folder / ".half.npy.01234567.tmp").write_bytes(b"x")
    (folder / "unnamed.npy").write_bytes(b"x")
    store.tidy()
    assert len(list(folder.iterdir())) == len(store.records)
    record = store.records[2]
    path = volumes_path(store.path, record)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.verify() == [record]
    path.unlink()
    assert store.verify() == [record]
    with pytest.raises(ValueError, match=r"expected the volumes of each scan in volumes/, found "):
        store.volumes(record)


def test_a_store_without_says_how_to_get_them(tree):
    change(tree, volumes=False)
    run(tree)
    store = store_of(tree)
    assert (
        not (store.path / VOLUMES).exists()
        and "volumes" not in (store.path / "scans.jsonl").read_text()
    )
    with pytest.raises(ValueError, match=r"found its series alone; say prepare\.volumes and make"):
        store.volumes(store.records[0])
    change(tree, volumes=True)
    assert site_of(tree).prepare.volumes.size == (96, 96, 96)
    with pytest.raises(ValueError, match=r"found others in prepare\.volumes"):
        Preparation.of(site_of(tree))


def test_room_is_told_before_and_refused_where_there_is_none(tree, monkeypatch):
    need = f"{6 * 60 * 20 * 18 * 16 * 2 / 1e9:.3g} GB"
    sentence = rf"volumes of 6 scans \(20 x 18 x 16 voxels of 3.5 mm\) take {need} of the .* GB"
    assert any(re.match(sentence, note) for note in validate(site_of(tree)).notes)
    preparation = Preparation.of(site_of(tree))
    assert any(re.match(sentence, note) for note in preparation.notes())
    monkeypatch.setattr(volumes_room, "_free", lambda _: 1000)
    monkeypatch.setattr(prepare_module, "prepare_scan", lambda *_: pytest.fail("begun"))
    refused = rf"expected room for volumes of 6 scans .*, {need}, found 1e-06 GB free"
    with pytest.raises(ValueError, match=refused):
        Preparation.of(site_of(tree))


def test_a_brain_outside_the_grid_is_a_problem_of_the_scan(tree):
    change(tree, volumes={"size": [1, 1, 1], "mm": 500})
    reports = run(tree)
    (message,) = {re.sub(r"^.*?: ", "", report.reasons[0]) for report in reports}
    assert "expected a brain that varies within the grid of volumes (1 x 1 x 1 voxels of" in message
    assert not list((tree.folder / "store" / VOLUMES).iterdir())


@pytest.mark.parametrize(
    "given, found",
    [
        ({"kind": "hcp"}, "found kind 'hcp'"),
        ({"space": "fsLR"}, "found space fsLR"),
    ],
)
def test_inputs_without_volumes_are_refused(tree, given, found):
    content = tree.site.read_text()
    for key, value in given.items():
        content = re.sub(rf"    {key}: \w+\n", "", content)
        content = content.replace("  input:\n", f"  input:\n    {key}: {value}\n")
    tree.site.write_text(content)
    with pytest.raises(ValueError, match=f"prepare.volumes: expected input of kind .*{found}"):
        site_of(tree)
