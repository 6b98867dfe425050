"""Sums of functional connectivity over subjects: what a site contributes to the basis.

Shapes: R ROIs, F frames of a scan, P = R(R-1)/2 pairs of ROIs, in the order of
``numpy.triu_indices(R, k=1)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.correlation import (
    bool_mask,
    fisher_z,
    functional_connectivity,
    valid_frames,
)
from brainjepa_core.sums.pairs import SumOverPairs, places_above
from brainjepa_core.sums.rois import name_rois
from brainjepa_core.usable import MIN_ROIS

MAX_Z = 9.0  # of a subject; |r| is cut at 1 - 1e-7, which is z = 8.4


class ConnectivitySum(SumOverPairs):
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
    subjects : int
        How many people; of how many scans and frames they have, nothing is kept.
    """

    NAME = "connectivity sum"
    ADDED = {"z_sum": np.float64, "pair_count": np.int64, "subjects": np.int64}
    K, OWN = 1, "z_sum"
    z_sum: Float64

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
        found = [
            self._scan_z(valid_frames(series, valid), absent)
            for series, absent, valid in zip(scans, missing, frame_valid, strict=True)
        ]
        if len(found) == 1:
            z, seen = found[0]
        else:
            counts = np.sum([observed for _, observed in found], axis=0)
            z = np.sum([z for z, _ in found], axis=0) / np.maximum(counts, 1)
            seen = counts > 0
        self.z_sum += z
        self.pair_count += seen
        self.subjects += 1

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
        if index.size < MIN_ROIS:
            raise ValueError(
                f"expected at least {MIN_ROIS} ROIs with data in a scan, found {index.size}; "
                "leave it out"
            )
        whole = index.size == count
        told = [self.rois[i] for i in index]
        r = functional_connectivity(kept if whole else kept[index], rois=told)
        if not whole:
            known, r = r, np.zeros((count, count))
            r[np.ix_(index, index)] = known
        upper = places_above(count)
        return fisher_z(r.ravel()[upper]), np.outer(present, present).ravel()[upper]

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

    def told(self, fewest: int) -> ConnectivitySum:
        """Without the pairs that fewer people show: both their sums are 0; subjects stay."""
        enough = self.pair_count >= fewest
        z_sum, pair_count = (np.where(enough, a, 0) for a in (self.z_sum, self.pair_count))
        return self._made_of({**vars(self), "z_sum": z_sum, "pair_count": pair_count})

    def _require_possible(self) -> None:
        """No pair in more people than there are, and |z| in bounds."""
        if self.pair_count.max() > self.subjects:
            raise ValueError(
                f"expected no pair in more than the {self.subjects} subjects, found a pair_count "
                f"of {self.pair_count.max()}"
            )
        beyond = int((np.abs(self.z_sum) > MAX_Z * self.pair_count).sum())
        if beyond:
            raise ValueError(
                f"expected Fisher z of at most {MAX_Z:g} a subject, found more in {beyond} of "
                f"{self.z_sum.size} pairs; check the site's version"
            )
