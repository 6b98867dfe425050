"""4D NIfTI a few frames at a time: the next ones are decompressed while these are worked on.

A scan of 200 frames takes 430 MB as int16 and four times that as float64; here two blocks of raw
frames are in memory, and the voxels asked for are all that is ever converted.

Shapes: F frames, f frames of a block, N voxels of the grid, V voxels asked for.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.problems import plainly
from brainjepa_core.signals.problems import ScanProblem, require_there

BLOCK = 8
PIECE = 1 << 18  # compressed bytes at a time: what comes out of them stays in the cache
DEFLATE_RATIO = 1032  # no file of this compression holds more times its size
SECONDS = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}  # by NIfTI's code of the unit; 0 is unknown

# ISA-L decompresses the same bytes about twice as fast; it is used where a site has installed it.
_zlib: Any = importlib.import_module("isal.isal_zlib" if find_spec("isal") else "zlib")


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header of a 4D image tells.

    Attributes
    ----------
    shape : (int, int, int)
        Voxels along each axis; N is their product.
    frames : int
        F.
    tr : float
        Seconds; NaN where the header gives none.
    affine : ndarray of float64 [4, 4]
        From voxel indices to mm.
    dtype : dtype
        On disk.
    offset : int
        Byte at which the first frame starts.
    slope, inter : float
        A value is ``slope * stored + inter``.
    """

    shape: tuple[int, int, int]
    frames: int
    tr: float
    affine: Float64
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float

    @property
    def half_step(self) -> float:
        """Largest size of a value that stands for 0: integers with an intercept may round it."""
        return abs(self.slope) / 2 if self.dtype.kind in "iu" else 0.0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame on disk, once decompressed."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: Path) -> NiftiHeader:
    """Header of a 4D NIfTI; no frame is read, which takes a fraction of a millisecond.

    Raises
    ------
    ScanProblem
        If there is no such file, it is no NIfTI, not 4D, of fewer than two frames, of no real
        numbers, without a usable affine, or too small for what its header says.
    """
    image = load_nifti(file)
    shape = image.shape
    if len(shape) != 4 or min(shape) < 1 or shape[3] < 2:
        raise ScanProblem(
            file,
            "a 4D image with at least 2 frames",
            f"shape {list(map(int, shape))}",
            "give the preprocessed series, not a reference or a single volume of it",
        )
    stored, dtype = image.dataobj, image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ScanProblem(
            file, "integers or real numbers", f"data type {dtype}", "write it as float32"
        )
    unit = int(image.header["xyzt_units"]) & 0x38
    # pixdim is float32: its shortest decimal is what was meant (0.735, not 0.7350000143).
    tr = float(str(image.header.get_zooms()[3])) * SECONDS.get(unit, np.nan)
    header = NiftiHeader(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        frames=int(shape[3]),
        tr=tr if np.isfinite(tr) and tr > 0 else float("nan"),
        affine=np.asarray(image.affine, np.float64),
        dtype=dtype,
        offset=int(stored.offset),
        slope=float(stored.slope),
        inter=float(stored.inter),
    )
    holds = file.stat().st_size * (DEFLATE_RATIO if file.suffix == ".gz" else 1)
    if holds < header.offset + header.frames * header.frame_bytes:
        raise _cut_short(file, header.frames, (holds - header.offset) // header.frame_bytes)
    return header


def load_nifti(file: Path) -> Any:
    """Open any NIfTI image without its data.

    Raises
    ------
    ScanProblem
        If there is no such file, it is no NIfTI, or its affine is unusable.
    """
    require_there(file)
    try:
        image = nib.load(file)
    except Exception as error:  # damage surfaces as nibabel's, zlib's, gzip's or Python's errors
        empty = file.is_file() and file.stat().st_size == 0
        found = "an empty file" if empty else plainly(error)
        mend = "copy it again, or preprocess the scan again"
        raise ScanProblem(file, "a NIfTI image", found, mend) from error
    if not isinstance(image, nib.Nifti1Image | nib.Nifti2Image):
        found = "an image of another kind"
        raise ScanProblem(file, "a NIfTI image", found, "convert it to .nii.gz")
    if not np.isfinite(image.affine).all() or np.linalg.det(image.affine[:3, :3]) == 0:
        found = "one that is not finite or flattens the image"
        raise ScanProblem(file, "an affine from voxels to mm", found, "mend its sform or qform")
    return image


def read_values(file: Path, image: Any, frames: int | None = None) -> NDArray[Any]:
    """Values [N] or [N f] of an opened image, first axis fastest.

    Parameters
    ----------
    file : Path
    image : nibabel image
    frames : int, optional
        The first along the last axis; all by default.

    Raises
    ------
    ScanProblem
        If the file is damaged.
    """
    try:
        return np.asarray(image.dataobj[..., :frames]).reshape(-1, order="F")
    except Exception as error:  # damage surfaces as nibabel's, zlib's, gzip's or Python's errors
        found = plainly(error)
        raise ScanProblem(file, "an image that can be read", found, "copy it again") from error


def stream_voxels(
    file: Path, header: NiftiHeader, voxels: NDArray[np.int64], block: int = BLOCK
) -> Iterator[Float64]:
    """Values of some voxels, a few frames at a time.

    Parameters
    ----------
    file : Path
        ``.nii`` or ``.nii.gz``.
    header : NiftiHeader
        Of that file.
    voxels : ndarray of int64 [V]
        Flat indices in the file's order, first axis fastest.
    block : int
        Frames at a time.

    Yields
    ------
    ndarray of float64 [f, V]
        f is `block`, or less at the end; scaled as nibabel scales. It is the caller's own.

    Raises
    ------
    ScanProblem
        If the file is damaged or shorter than its header says.
    """
    for raw in _raw_blocks(file, header, block):
        values = np.take(raw, voxels, axis=1).astype(np.float64)
        if header.slope != 1:
            values *= header.slope
        if header.inter != 0:
            values += header.inter
        yield values


def _raw_blocks(file: Path, header: NiftiHeader, block: int) -> Iterator[NDArray[Any]]:
    """Stored values [f, N] in two buffers by turns: a block lasts until the next one is asked for.

    One thread reads ahead. It holds the interpreter's lock only between pieces, since
    decompression releases it.
    """
    size = min(block, header.frames)
    buffers = [np.empty((size, math.prod(header.shape)), header.dtype) for _ in range(2)]
    starts = range(0, header.frames, size)
    with file.open("rb", buffering=0) as stored, ThreadPoolExecutor(1) as reader:
        source = _Gunzip(stored) if file.suffix == ".gz" else stored

        def ahead(turn: int) -> NDArray[Any]:
            frames = buffers[turn % 2][: header.frames - starts[turn]]
            _read_frames(source, frames, file, header, starts[turn])
            return frames

        coming = reader.submit(ahead, 0)
        for turn in range(len(starts)):
            frames = coming.result()
            if turn + 1 < len(starts):
                coming = reader.submit(ahead, turn + 1)
            yield frames


class _Gunzip:
    """Reads a gzip file of any number of members, in larger steps than the gzip module.

    That one takes 8 kB at a time before Python 3.12 and asks for the interpreter's lock after each,
    which costs a third more time.
    """

    def __init__(self, stored: IO[bytes]) -> None:
        self._stored = stored
        self._member = _zlib.decompressobj(wbits=31)
        self._input = b""

    def readinto(self, target: memoryview) -> int:
        """Write up to the target's size; 0 once all members have ended, checksums compared.

        Raises
        ------
        EOFError
            If the file ends within a member.
        """
        while True:
            if self._member.eof:
                self._input = (self._member.unused_data or self._more()).lstrip(b"\0")  # padding
                if not self._input:
                    return 0
                self._member = _zlib.decompressobj(wbits=31)
            compressed = self._input or self._more()
            output = self._member.decompress(compressed, len(target))
            self._input = self._member.unconsumed_tail
            if output:
                target[: len(output)] = output
                return len(output)
            if not compressed and not self._member.eof:
                raise EOFError

    def _more(self) -> bytes:
        return self._stored.read(PIECE)


def _read_frames(
    source: Any, frames: NDArray[Any], file: Path, header: NiftiHeader, start: int
) -> None:
    """Read the frames from `start` on; after the last, go on to the end, where checksums are."""
    target, done = frames.reshape(-1).view(np.uint8).data, 0
    try:
        if start == 0:
            _fill(source, memoryview(bytearray(header.offset)))
        done = _fill(source, target)
        if done == len(target) and start + len(frames) == header.frames:
            rest = memoryview(bytearray(PIECE))
            while source.readinto(rest):
                pass
    except Exception as error:  # damage surfaces as zlib's, ISA-L's or the disk's errors
        raise ScanProblem(
            file,
            "a sound gzip file" if file.suffix == ".gz" else "a file that can be read",
            f"{plainly(error, 'damage')} in frames {start + 1} to {start + len(frames)}",
            "copy it again, or preprocess the scan again",
        ) from error
    if done < len(target):
        raise _cut_short(file, header.frames, start + done // header.frame_bytes)


def _fill(source: Any, target: memoryview) -> int:
    """Bytes read into the target: less than its size where the file ends."""
    done = 0
    with suppress(EOFError):
        while done < len(target):
            got = source.readinto(target[done:])
            if not got:
                break
            done += got
    return done


def _cut_short(file: Path, expected: int, found: int) -> ScanProblem:
    return ScanProblem(
        file,
        f"the {expected} frames its header announces",
        f"no more than {max(found, 0)}",
        "the file was cut short: copy it again, or preprocess the scan again",
    )
