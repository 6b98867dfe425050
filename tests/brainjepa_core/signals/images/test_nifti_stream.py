"""Streaming: every value as nibabel has it, whatever the type on disk; damage is named."""

from __future__ import annotations

import gzip
import importlib
import tempfile
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.images import nifti_stream
from brainjepa_core.signals.images.nifti_stream import read_header, stream_voxels
from brainjepa_core.signals.problems import ScanProblem

SHAPE = (5, 4, 3)


def stored(frames: int = 6, dtype: str = "<i2", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 120, (*SHAPE, frames)).astype(dtype)


def write(
    file: Path, data: np.ndarray, slope: float = np.nan, inter: float = np.nan, **changes: Any
) -> Path:
    """A NIfTI-1 file byte by byte, so that nothing is rescaled on the way."""
    order = ">" if data.dtype.byteorder == ">" else "<"
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms((2.0, 2.0, 2.0, 0.735)[: data.ndim])
    header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=4)
    header.set_xyzt_units("mm", changes.pop("unit", "sec"))
    header["scl_slope"], header["scl_inter"], header["magic"] = slope, inter, b"n+1"
    header["vox_offset"] = 352
    for field, value in changes.items():
        header[field] = value
    content = header.binaryblock + b"\0" * 4 + data.tobytes(order="F")
    file.write_bytes(gzip.compress(content, 1) if file.suffix == ".gz" else content)
    return file


def everything(file: Path, block: int = 8) -> np.ndarray:
    header = read_header(file)
    voxels = np.arange(np.prod(header.shape))
    return np.concatenate(list(stream_voxels(file, header, voxels, block)))


@given(
    dtype=st.sampled_from(["<i2", ">i2", "u1", "<i4", ">u2", "<f4", ">f4", "<f8", ">f8", "<i8"]),
    frames=st.integers(2, 11),
    block=st.integers(1, 12),
    scale=st.sampled_from([(np.nan, np.nan), (1, 0), (0.37, 0), (2, -7.25), (0, 3), (-1.5, 1)]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    seed=st.integers(0, 9),
)
def test_values_are_nibabels_to_the_bit(dtype, frames, block, scale, ending, seed):
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / f"bold{ending}", stored(frames, dtype, seed), *scale)
        image = nib.load(file)
        truth = image.get_fdata(dtype=np.float64).reshape(-1, frames, order="F").T
        header = read_header(file)
        voxels = np.random.default_rng(seed).permutation(len(truth[0]))[:7]
        blocks = list(stream_voxels(file, header, voxels, block))
        assert {len(values) for values in blocks[:-1]} <= {block}
        assert all(values.dtype == np.float64 for values in blocks)
        assert np.array_equal(np.concatenate(blocks), truth[:, voxels])
        assert (header.shape, header.frames) == (SHAPE, frames)
        assert np.array_equal(header.affine, image.affine)


@pytest.mark.parametrize("module", ["zlib", "isal.isal_zlib"])
def test_both_decompressors_give_the_same_and_find_damage(tmp_path, monkeypatch, module):
    if module.startswith("isal"):
        pytest.importorskip("isal")
    monkeypatch.setattr(nifti_stream, "_zlib", importlib.import_module(module))
    noise = np.random.default_rng(0).integers(0, 9999, (*SHAPE, 500)).astype("<i2")
    file = write(tmp_path / "bold.nii.gz", noise)
    assert np.array_equal(everything(file), noise.reshape(-1, 500, order="F").T)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ScanProblem,
        match=r"bold.nii.gz: expected the 500 frames its header announces, found no more than "
        r"2\d\d; the file was cut short",
    ):
        everything(file)
    file.write_bytes(whole[:-8])
    with pytest.raises(ScanProblem, match=r"found a file that ends too early in frames 497 to 500"):
        everything(file)
    file.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(
        ScanProblem, match="expected a sound gzip file, found damage in frames 497 to 500"
    ):
        everything(file)


def test_members_of_a_file_in_blocks_are_joined(tmp_path):
    data = stored(5)
    file = write(tmp_path / "bold.nii", data)
    content = file.read_bytes()
    parts = [content[i : i + 100] for i in range(0, len(content), 100)]
    members = b"".join(map(gzip.compress, parts))
    (tmp_path / "bold.nii.gz").write_bytes(
        members + bytes(700_000)
    )  # zeros may follow, as on tapes
    assert np.array_equal(everything(tmp_path / "bold.nii.gz"), everything(file))


def test_a_compressed_file_with_fewer_frames_than_announced_is_refused(tmp_path):
    file = write(tmp_path / "bold.nii.gz", stored(6))
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-200]))
    assert read_header(file).frames == 6  # a header tells no more
    with pytest.raises(ScanProblem, match="6 frames its header announces, found no more than 4;"):
        everything(file)


def test_an_uncompressed_file_that_is_too_short_is_seen_by_its_size(tmp_path):
    file = write(tmp_path / "bold.nii", stored(6))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ScanProblem, match="6 frames its header announces, found no more than 5;"):
        read_header(file)


def test_a_header_that_announces_the_impossible_is_refused_before_memory_is_taken(tmp_path):
    file = write(tmp_path / "bold.nii.gz", stored(6), dim=[4, 9999, 9999, 9999, 6, 1, 1, 1])
    with pytest.raises(ScanProblem, match="6 frames its header announces, found no more than 0"):
        read_header(file)


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_gives_a_problem_or_does_not_matter(place, value, cut):
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "bold.nii.gz", stored(40))
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] = value
        file.write_bytes(content[: int(place * len(content))] if cut else content)
        try:
            values = everything(file)
        except ScanProblem:
            return
        assert np.array_equal(values, stored(40).reshape(-1, 40, order="F").T)


def test_a_file_that_shrinks_between_header_and_data_is_named(tmp_path):
    file = write(tmp_path / "bold.nii", stored(6))
    header = read_header(file)
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(ScanProblem, match=r"bold.nii: .* found no more than 0;"):
        list(stream_voxels(file, header, np.arange(3)))


def test_nothing_goes_on_reading_once_the_caller_stops(tmp_path):
    file = write(tmp_path / "bold.nii.gz", stored(40))
    before = threading.active_count()
    stream = stream_voxels(file, read_header(file), np.arange(3), 2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("unit", "step", "tr"),
    [
        ("sec", 0.735, 0.735),
        ("msec", 735.0, 0.735),
        ("usec", 735000.0, 0.735),
        ("unknown", 2.0, 2.0),
        ("sec", 0.0, np.nan),
        ("hz", 2.0, np.nan),
    ],
)
def test_tr_in_seconds_whatever_the_unit(tmp_path, unit, step, tr):
    pixdim = [1, 2, 2, 2, step, 1, 1, 1]
    file = write(tmp_path / "bold.nii.gz", stored(), unit=unit, pixdim=pixdim)
    assert read_header(file).tr == pytest.approx(tr, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (np.zeros(SHAPE, "<i2"), r"shape \[5, 4, 3\]"),
        (np.zeros((*SHAPE, 1), "<i2"), r"shape \[5, 4, 3, 1\]"),
        (np.zeros((*SHAPE, 0), "<i2"), r"shape \[5, 4, 3, 0\]"),
        (np.zeros((*SHAPE, 1, 4), "<i2"), r"shape \[5, 4, 3, 1, 4\]"),
    ],
)
def test_what_is_no_series_is_refused(tmp_path, data, found):
    file = tmp_path / "bold.nii"
    write(file, data if data.ndim < 5 else data[..., 0, :])
    if data.ndim == 5:
        nib.save(nib.Nifti1Image(data, np.eye(4)), file)
    with pytest.raises(ScanProblem, match=f"a 4D image with at least 2 frames, found {found}"):
        read_header(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "bold.nii.gz"
    with pytest.raises(ScanProblem, match="expected a file, found none of that name"):
        read_header(file)
    for content in (b"", b"no gzip", gzip.compress(b"no image"), gzip.compress(bytes(400))[:20]):
        file.write_bytes(content)
        found = "damage, or another format" if content else "an empty file"
        with pytest.raises(ScanProblem, match=f"expected a NIfTI image, found {found}"):
            read_header(file)
    nib.save(nib.MGHImage(np.zeros(SHAPE, "f4"), np.eye(4)), tmp_path / "bold.mgz")
    with pytest.raises(ScanProblem, match="expected a NIfTI image, found an image of another kind"):
        read_header(tmp_path / "bold.mgz")
    with pytest.raises(ScanProblem, match="integers or real numbers, found data type complex64"):
        read_header(write(tmp_path / "complex.nii", stored(dtype="<c8")))
    flat = write(tmp_path / "flat.nii", stored(), srow_z=[0, 0, 0, 0])
    with pytest.raises(ScanProblem, match="one that is not finite or flattens the image"):
        read_header(flat)


def test_nifti2_is_read_as_well(tmp_path):
    data = stored().astype("<f4")
    nib.save(nib.Nifti2Image(data, np.eye(4)), tmp_path / "bold.nii.gz")
    assert np.array_equal(everything(tmp_path / "bold.nii.gz"), data.reshape(-1, 6, order="F").T)
