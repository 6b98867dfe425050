"""Site archives: one file of arrays with all scans of a site below one another.

::

    ts              [sum of lengths, R] floating point
    lengths         [S] frames of each scan
    participant_id  [S]
    tr              seconds, one or one a scan
    roi             [R] names

Shapes: S scans, F frames, R ROIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.problems import plainly
from brainjepa_core.signals.tables.array_files import (
    ARRAY_ENDINGS,
    array_headers,
    exact_seconds,
    load_array,
)
from brainjepa_core.signals.tables.matlab.files import texts_of

ARCHIVE_KEYS = ("ts", "lengths", "participant_id", "tr", "roi")
TS, *SMALL = ARCHIVE_KEYS


@dataclass(frozen=True)
class SiteArchive:
    """What an archive says of its scans; the scans themselves are not read yet.

    Attributes
    ----------
    path : Path
    people, names : tuple of str
        Participant of each scan, name of each ROI.
    lengths : tuple of int
        Frames of each scan.
    trs : tuple of float
        Seconds of each scan.
    """

    path: Path
    people: tuple[str, ...]
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    trs: tuple[float, ...]

    def series(self, place: int) -> NDArray[np.floating]:
        """Scan number `place` [R, F].

        Raises
        ------
        ValueError
            If the archive is damaged.
        """
        start = sum(self.lengths[:place])
        return _loaded(self.path, TS)[start : start + self.lengths[place]].T


def is_site_archive(path: Path) -> bool:
    """Whether a file has scans below one another, by the names of its arrays."""
    return path.suffix in ARRAY_ENDINGS and {TS, "lengths"} <= array_headers(path).keys()


def read_site_archive(path: Path) -> SiteArchive:
    """Check an archive without unpacking its scans.

    Raises
    ------
    ValueError
        If it is damaged, a part is missing, or its parts do not fit one another.
    """
    if path.is_dir() or path.suffix not in ARRAY_ENDINGS:
        raise _no_archive("a folder" if path.is_dir() else "another kind of file")
    try:
        headers = array_headers(path)
    except ValueError as error:
        raise _no_archive(plainly(error.__cause__ or error)) from error
    missing = [key for key in ARCHIVE_KEYS if key not in headers]
    if missing:
        raise ValueError(
            f"expected {', '.join(ARCHIVE_KEYS)} in the archive, found no {', '.join(missing)}; "
            "give a site archive, or add what it lacks"
        )
    parts = {key: _loaded(path, key) for key in SMALL}
    shape, dtype = headers[TS]
    _refuse_misfits(parts, shape, dtype)
    trs = exact_seconds(parts["tr"])
    return SiteArchive(
        path,
        tuple(parts["participant_id"].tolist()),
        tuple(parts["roi"].tolist()),
        tuple(int(length) for length in parts["lengths"]),
        tuple(trs * len(parts["lengths"]) if len(trs) == 1 else trs),
    )


def _loaded(path: Path, key: str) -> NDArray[Any]:
    try:
        array = load_array(path, key)
        if key in ("participant_id", "roi"):
            return np.array(texts_of(array))
        if key == TS or path.suffix != ".mat":
            return array
        # To MATLAB, a list is a matrix, and a count a double.
        whole = key == "lengths" and (array == np.round(array)).all()
        return array.ravel().astype(np.int64 if whole else array.dtype)
    except Exception as error:  # damage surfaces as zlib's, zipfile's, numpy's or Python's errors
        raise _no_archive(plainly(error.__cause__ or error)) from error


def _no_archive(found: str) -> ValueError:
    return ValueError(
        f"expected a site archive (.npz with {', '.join(ARCHIVE_KEYS)}; or .h5, .hdf5, .mat), "
        f"found {found}; give the archive, or export it again"
    )


def _refuse_misfits(
    parts: dict[str, NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    lengths, people, tr, roi = (parts[key] for key in SMALL)
    fits = (
        len(shape) == 2
        and lengths.ndim == 1
        and np.issubdtype(lengths.dtype, np.integer)
        and np.issubdtype(dtype, np.floating)
        and tr.dtype.kind in "fiu"
        and len(lengths) > 0
        and (lengths > 0).all()
        and sum(lengths.tolist()) == shape[0]
        and people.shape == lengths.shape
        and roi.shape == shape[1:]
        and tr.shape in ((), (1,), lengths.shape)
    )
    if not fits:
        raise ValueError(
            "expected ts [sum of lengths, ROIs], one participant_id a length, a name a column and "
            f"a TR or one a scan, found ts {list(shape)}, lengths {list(lengths.shape)}, "
            f"participant_id {list(people.shape)}, roi {list(roi.shape)}, tr "
            f"{list(tr.shape)}; export the archive again"
        )
    repeated = len(people) - len(set(people.tolist()))
    if repeated or not (np.isfinite(tr) & (tr > 0)).all():
        raise ValueError(
            "expected each participant once and TRs in seconds above 0, found "
            f"{repeated} repeated participants and TRs from {tr.min():g} to {tr.max():g}; write "
            "one archive a session, and give the scanner's TR"
        )
