"""Sums of functional connectivity over subjects: what a site contributes to the basis.

Shapes: R ROIs, F frames of a scan, P = R(R-1)/2 pairs of ROIs, in the order of
``numpy.triu_indices(R, k=1)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import (
    Arrays,
    Float64,
    load_arrays,
    save_arrays,
    take_floats,
    take_keys,
    take_rois,
)
from brainjepa_core.sums.correlation import (
    MIN_FRAMES,
    bool_mask,
    fisher_z,
    functional_connectivity,
    valid_frames,
)
from brainjepa_core.sums.rois import check_rois, name_rois, require_same_rois


class ConnectivitySum:
    """Sum of Fisher z over subjects, with the number of subjects behind each pair of ROIs.

    Sums of different sites add up to the sum of the pooled subjects, so the consensus basis
    computed from them is the one that pooled data would give. A subject weighs the same
    whatever the number of its scans. Two ROIs with identical series (one ROI entered twice
    under two names) are no error: their pair gets r = 1 - 1e-7, z = 8.4.

    Parameters
    ----------
    rois : iterable of str
        Ordered ROI names, R of them, each unique.

    Attributes
    ----------
    rois : tuple of str
    z_sum : ndarray of float64, shape (P,)
        Sum over subjects of the Fisher z of each pair, P = R(R-1)/2.
    pair_count : ndarray of int64, shape (P,)
        Subjects in which both ROIs of the pair were observed.
    subjects, scans, frames : int
        Totals; frames counts valid ones.
    """

    KEYS = ("rois", "z_sum", "pair_count", "subjects", "scans", "frames")

    def __init__(self, rois: Iterable[str]) -> None:
        self.rois = check_rois(rois)
        pairs = len(self.rois) * (len(self.rois) - 1) // 2
        self.z_sum = np.zeros(pairs, dtype=np.float64)
        self.pair_count = np.zeros(pairs, dtype=np.int64)
        self.subjects = self.scans = self.frames = 0

    def add_scan(
        self,
        series: ArrayLike,
        missing: ArrayLike | None = None,
        frame_valid: ArrayLike | None = None,
    ) -> None:
        """Add a subject who has one scan.

        Parameters
        ----------
        series : array_like, shape (R, F)
            ROI time series in the order of `rois`. A row of NaN is a missing ROI.
        missing : array_like of bool, shape (R,), optional
            True for ROIs to leave out; their values are not looked at.
        frame_valid : array_like of bool, shape (F,), optional
            Frames to use; all by default.

        Raises
        ------
        ValueError
            If the shapes are wrong, an ROI that is not missing is dead or has NaN in a valid
            frame, or fewer than two ROIs remain. The sum is then unchanged.
        """
        self.add_subject([series], [missing], [frame_valid])

    def add_subject(
        self,
        scans: Sequence[ArrayLike],
        missing: Sequence[ArrayLike | None] | None = None,
        frame_valid: Sequence[ArrayLike | None] | None = None,
    ) -> None:
        """Add one subject: the Fisher z of each pair averaged over the scans that observe it.

        Parameters
        ----------
        scans : sequence of array_like, shape (R, F) each
            The subject's scans, at least one; F may differ.
        missing, frame_valid : sequence, optional
            One entry a scan, each as in `add_scan`.

        Raises
        ------
        ValueError
            As `add_scan`; also if there is no scan or the sequences differ in length.
        """
        nothing = [None] * len(scans)
        missing = nothing if missing is None else missing
        frame_valid = nothing if frame_valid is None else frame_valid
        if not len(scans) == len(missing) == len(frame_valid) > 0:
            raise ValueError(
                f"expected one mask a scan and at least one scan, found {len(scans)} scans, "
                f"{len(missing)} masks of missing ROIs and {len(frame_valid)} of valid frames"
            )
        z, seen = np.zeros_like(self.z_sum), np.zeros_like(self.pair_count)
        frames = 0
        for series, absent, valid in zip(scans, missing, frame_valid, strict=True):
            kept = valid_frames(series, valid)
            z_scan, observed = self._scan_z(kept, absent)
            z += z_scan
            seen += observed
            frames += kept.shape[1]
        self.z_sum += z / np.maximum(seen, 1)
        self.pair_count += seen > 0
        self.subjects += 1
        self.scans += len(scans)
        self.frames += frames

    def _scan_z(
        self, kept: Float64, missing: ArrayLike | None
    ) -> tuple[Float64, NDArray[np.bool_]]:
        """Fisher z [P] of one scan (0 where not observed) and which pairs it observes [P]."""
        count = len(self.rois)
        if kept.shape[0] != count:
            raise ValueError(
                f"expected series with {count} ROIs (rows), found shape {kept.shape}; "
                "rows are ROIs, columns are frames"
            )
        present = ~np.isnan(kept).all(axis=1)
        if missing is not None:
            present &= ~bool_mask(missing, count, "missing")
        index = np.flatnonzero(present)
        if index.size < 2:
            raise ValueError(
                f"expected at least 2 ROIs with data in a scan, found {index.size}; leave it out"
            )
        r = np.zeros((count, count))
        r[np.ix_(index, index)] = functional_connectivity(
            kept[index], rois=[self.rois[i] for i in index]
        )
        upper = np.triu_indices(count, k=1)
        return fisher_z(r[upper]), np.outer(present, present)[upper]

    def add(self, other: ConnectivitySum) -> Self:
        """Add another sum to this one, in place.

        Parameters
        ----------
        other : ConnectivitySum
            Over other subjects, with the same ROI names in the same order.

        Returns
        -------
        ConnectivitySum
            This one.

        Raises
        ------
        ValueError
            If the ROI names or their order differ.
        """
        require_same_rois(self.rois, other.rois)
        self.z_sum += other.z_sum
        self.pair_count += other.pair_count
        self.subjects += other.subjects
        self.scans += other.scans
        self.frames += other.frames
        return self

    def __add__(self, other: ConnectivitySum) -> ConnectivitySum:
        return ConnectivitySum.sum_of([self, other])

    @classmethod
    def sum_of(cls, sums: Iterable[ConnectivitySum]) -> Self:
        """New sum over `sums` (at least one), none of which is changed."""
        total: Self | None = None
        for one in sums:
            total = (cls(one.rois) if total is None else total).add(one)
        if total is None:
            raise ValueError("expected at least one connectivity sum, found none")
        return total

    def mean_fc(self) -> Float64:
        """Group connectivity: tanh of the mean Fisher z, with the diagonal 1.

        Returns
        -------
        ndarray of float64, shape (R, R)

        Raises
        ------
        ValueError
            If a pair of ROIs was never observed together.
        """
        rows, columns = np.triu_indices(len(self.rois), k=1)
        unseen = np.flatnonzero(self.pair_count == 0)
        if unseen.size:
            raise ValueError(self._unseen_text(rows[unseen], columns[unseen]))
        r = np.eye(len(self.rois))
        r[rows, columns] = r[columns, rows] = np.tanh(self.z_sum / self.pair_count)
        return r

    def _unseen_text(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> str:
        found = np.bincount(np.concatenate([rows, columns]), minlength=len(self.rois))
        never = np.flatnonzero(found == len(self.rois) - 1)
        which = (
            f"ROIs never observed: {name_rois(never, self.rois)}"
            if never.size
            else f"for example {self.rois[rows[0]]} with {self.rois[columns[0]]}"
        )
        return (
            f"expected every pair of ROIs in at least one subject, found {rows.size} of "
            f"{self.z_sum.size} pairs without any among {self.subjects} subjects ({which}); add "
            "subjects that cover them, or use an atlas without these ROIs"
        )

    def to_arrays(self) -> Arrays:
        """The sum as named arrays (`KEYS`), for a file or a message; the inverse of `from_arrays`.

        Returns
        -------
        dict of str to ndarray
            rois text [R], z_sum float64 [P], pair_count int64 [P]; subjects, scans, frames
            int64 scalars.
        """
        counts = {key: np.array(getattr(self, key), np.int64) for key in self.KEYS[3:]}
        return {
            "rois": np.array(self.rois, dtype=np.str_),
            "z_sum": self.z_sum.copy(),
            "pair_count": self.pair_count.copy(),
            **counts,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Check foreign arrays and rebuild the sum that they hold.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            As `to_arrays` gives them.

        Returns
        -------
        ConnectivitySum

        Raises
        ------
        ValueError
            If keys, dtypes or shapes differ, a value is not finite, or counts are negative or
            impossible (more pairs than subjects, fewer scans than subjects, ...).
        """
        found = take_keys(arrays, cls.KEYS, "connectivity sum")
        self = cls(take_rois(found["rois"]))
        self.z_sum = take_floats(found["z_sum"], "z_sum", self.z_sum.shape)
        if not np.isfinite(self.z_sum).all():
            pair = int(np.flatnonzero(~np.isfinite(self.z_sum))[0])
            ends = [int(side[pair]) for side in np.triu_indices(len(self.rois), k=1)]
            raise ValueError(
                f"expected finite values in 'z_sum', found {self.z_sum[pair]} for the pair "
                f"{name_rois(ends, self.rois)}"
            )
        self.subjects, self.scans, self.frames = (
            int(_counts(found[key], key, ())) for key in cls.KEYS[3:]
        )
        self.pair_count = _counts(found["pair_count"], "pair_count", self.pair_count.shape)
        if self.pair_count.max() > self.subjects:
            raise ValueError(
                f"expected no pair in more than the {self.subjects} subjects, found a pair_count "
                f"of {self.pair_count.max()}"
            )
        if not MIN_FRAMES * self.subjects <= MIN_FRAMES * self.scans <= self.frames:
            raise ValueError(
                f"expected at least a scan a subject and {MIN_FRAMES} frames a scan, found "
                f"{self.subjects} subjects, {self.scans} scans, {self.frames} frames"
            )
        return self

    def save(self, path: str | Path) -> None:
        """Write to an npz file, replacing it in one step."""
        save_arrays(path, self.to_arrays())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; ValueError if it is damaged (see `from_arrays`)."""
        return cls.from_arrays(load_arrays(path))


def _counts(array: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    if array.dtype != np.int64 or array.shape != shape:
        raise ValueError(
            f"expected '{name}' as int64 with shape {shape}, found {array.dtype} with shape "
            f"{array.shape}"
        )
    if array.size and array.min() < 0:
        raise ValueError(f"expected counts in '{name}', found the negative value {array.min()}")
    return array.astype(np.int64)
