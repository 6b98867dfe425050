"""Windows of frames from one or several stores: aligned in time, scaled, padded where short.

A window is a function of the person and a seed, nothing else, so that a run can be resumed and a
site can leave and come back.

Shapes: B batch, R ROIs, T frames of a window, F frames of an aligned scan.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.signals.aligned_scans import AlignedScans
from brainjepa_core.signals.people import aligned_frames, in_short, people_of, stride_of
from brainjepa_core.signals.rest import rest_connectivity
from brainjepa_core.signals.storing.kept_aligned import KeptAligned, KeptScans
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.temporal import official_indices
from brainjepa_core.signals.told_once import log_of_once
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.volume_grid import VolumesRead

Mask = NDArray[np.bool_]
BESIDE_DISK = 256 << 20  # bytes of memory for aligned scans where the disk keeps them
_log = log_of_once(__name__)


class Window(NamedTuple):
    """Signal [R, T] (0 where invalid), valid frames [T] and valid ROIs [R]."""

    signal: Float32
    frame_valid: Mask
    roi_valid: Mask


class Windows:
    """Random windows of all people in some stores.

    Parameters
    ----------
    stores : sequence of Scans
        Of one atlas; a store is a site, and the same subject name at two sites is two people.
    settings : WindowSettings
    cache_bytes : int
        Aligned, scaled scans kept in memory.
    patch : int
        Frames a token of the model that the windows are for. A scan that does not fill one is left
        out, as one that no correlation can be taken from is.
    with_rest : bool
        Leave out also who has no two windows apart from one another, for a model that predicts
        the one from the other (`rest`).
    kept : KeptAligned, optional
        Where aligned scans are kept on disk; the disk's own cache is then most of their memory.
    volumes : VolumesRead, optional
        Leave out also scans without such volumes (`signals.volume_windows`).

    Attributes
    ----------
    people : tuple of Person
        With the scans that can be used; whoever has none is not among them.
    told_columns : frozenset of str, optional
        Phenotypes that may be learned of these people; all by default.
    left_out : tuple of LeftOut
        Scans that cannot be used and why, for the site's own eyes. How many is a warning of this
        module's logger, and each of them a message for debugging.

    Raises
    ------
    ValueError
        If atlases differ, there is no scan that can be used, or short scans are refused and
        present.
    """

    def __init__(
        self,
        stores: Sequence[Scans],
        settings: WindowSettings | None = None,
        cache_bytes: int = 1 << 30,
        patch: int = 1,
        with_rest: bool = False,
        kept: KeptAligned | None = None,
        volumes: VolumesRead | None = None,
    ) -> None:
        self.stores = tuple(stores)
        self.settings = settings or WindowSettings()
        _refuse_other_atlases(self.stores)
        self.people, self.left_out = people_of(
            self.stores, self.settings, patch, with_rest, volumes
        )
        if not self.people:
            raise ValueError(
                f"expected at least one scan that can be used, found {len(self.left_out)} that "
                f"cannot, the first for this: {self.left_out[0].reason}"
            )
        for line in in_short(self.left_out):
            _log.warning("left out: %s (--verbose names them)", line)
        for scan in self.left_out:
            _log.debug("left out: %s", scan)
        self.atlas = self.stores[0].atlas
        self.told_columns: frozenset[str] | None = None
        memory = cache_bytes if kept is None else min(cache_bytes, BESIDE_DISK)
        self._aligned = AlignedScans(self.stores, self.settings, self.people, memory, kept)
        self._refuse_short()

    def _refuse_short(self) -> None:
        if self.settings.short == "pad":
            return
        s = self.settings
        short = sum(
            aligned_frames(r, s) < s.frames * stride_of(r, s)
            for person in self.people
            for r in person.records
        )
        if short:
            raise ValueError(
                f"expected scans of at least {s.frames * s.tr:g} s ({s.frames} frames at "
                f"{s.tr:g} s), found {short} shorter ones; choose short: pad, or a smaller window"
            )

    def only(self, people: Sequence[int]) -> Windows:
        """Windows of some of the people, who are numbered anew in the order given.

        Stores, settings, scales and the cache are shared with these windows.

        Parameters
        ----------
        people : sequence of int
            At least one, each once.

        Raises
        ------
        ValueError
            If there is nobody, somebody twice, or a number that nobody has.
        """
        chosen = [int(person) for person in people]
        strangers = sum(not 0 <= person < self.subjects for person in chosen)
        if not chosen or strangers or len(set(chosen)) < len(chosen):
            raise ValueError(
                f"expected at least one of the {self.subjects} people, each once, found "
                f"{len(chosen)} numbers, {len(chosen) - len(set(chosen))} repeated and {strangers} "
                "that nobody has; choose from 0 .. subjects - 1"
            )
        view = copy.copy(self)
        view.people = tuple(self.people[person] for person in chosen)
        return view

    def scaled_on(self, people: Sequence[int]) -> Windows:
        """These windows with a scale that is learned from some people only: a training part.

        Everybody is there, under the same number; `AlignedScans.scaled_on` says how.

        Parameters
        ----------
        people : sequence of int
            At least one, each once.

        Raises
        ------
        ValueError
            If `people` cannot be chosen (see `only`), or their scans give no scale.
        """
        self.only(people)
        if self.settings.scaling == "zscore":
            return self
        view = copy.copy(self)
        view._aligned = self._aligned.scaled_on([self.people[person] for person in people])
        return view

    def telling(self, columns: frozenset[str]) -> Windows:
        """These windows, of whose people's phenotypes only some columns may be learned."""
        view = copy.copy(self)
        view.told_columns = columns
        return view

    @property
    def kept(self) -> KeptScans | None:
        """Where the aligned scans of the only store are on disk."""
        return self._aligned.kept

    @property
    def subjects(self) -> int:
        """Number of people."""
        return len(self.people)

    @property
    def bytes_at_hand(self) -> int:
        """Of aligned scans in memory."""
        return self._aligned.bytes_at_hand

    def name(self, subject: int) -> str:
        """Store and subject, for logs that stay on this machine."""
        person = self.people[subject]
        return f"{self.stores[person.store].path.name}/{person.records[0].subject}"

    def describe(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return self.settings.model_dump(exclude={"short"})

    def aligned(self, subject: int) -> list[tuple[Float32, Mask]]:
        """All scans of a person: series [R, F] at the window's TR and scale, valid ROIs [R].

        Rows of missing ROIs are 0. With ``official`` time, scans keep their own TR. Arrays are
        shared and read-only.
        """
        person = self.people[subject]
        return [self._aligned.get(person.store, record) for record in person.records]

    def unlisted(self, people: Sequence[int]) -> Windows:
        """Windows of some people (see `only`), light to hand to another process."""
        view = self.only(people)
        view._aligned, view.left_out = self._aligned.unlisted(), ()
        view.stores = view._aligned.stores
        return view

    def window(self, subject: int, seed: tuple[int, ...]) -> Window:
        """A random window of a random scan of a person.

        Parameters
        ----------
        subject : int
            0 .. subjects - 1.
        seed : tuple of int
            Equal seeds give equal windows.

        Returns
        -------
        Window
            Read-only where it is part of a cached scan; `batch` copies.
        """
        record, start = self._drawn(subject, seed)
        return self._window_at(self.people[subject].store, record, start)

    def _drawn(self, subject: int, seed: tuple[int, ...]) -> tuple[ScanRecord, int]:
        """Which scan of a person a seed's window is from, and its first frame."""
        rng = np.random.default_rng([subject, *seed])
        person = self.people[subject]
        record = person.records[rng.integers(len(person.records))]
        frames = aligned_frames(record, self.settings)
        length = self.settings.frames * stride_of(record, self.settings)
        return record, int(rng.integers(max(1, frames - length + 1)))

    def batch(
        self, subjects: Sequence[int], seeds: Sequence[tuple[int, ...]]
    ) -> tuple[Float32, Mask, Mask]:
        """Windows of several people: [B, R, T], valid frames [B, T], valid ROIs [B, R]."""
        return _stack([self.window(*pair) for pair in zip(subjects, seeds, strict=True)])

    def rest(self, subjects: Sequence[int], seeds: Sequence[tuple[int, ...]]) -> Float32:
        """Connectivity [B, R, R] of all that the windows of `batch` leave of their people's scans.

        Fisher z, as `signals.rest.rest_connectivity` says.
        """
        found = [rest_connectivity(self._left_by(*p)) for p in zip(subjects, seeds, strict=True)]
        return np.stack(found)

    def _left_by(self, subject: int, seed: tuple[int, ...]) -> Iterator[tuple[Float32, Mask]]:
        """Frames of each scan of a person that a seed's window does not hold."""
        drawn, start = self._drawn(subject, seed)
        person = self.people[subject]
        for record in person.records:
            series, roi_valid = self._aligned.get(person.store, record)
            if record.key == drawn.key:
                end = start + self.settings.frames * stride_of(record, self.settings)
                series = np.concatenate([series[:, :start], series[:, end:]], axis=1)
            yield series, roi_valid

    def full_windows(self, subject: int) -> tuple[Float32, Mask, Mask]:
        """All windows of a person, side by side in time: what an embedding averages over.

        A remainder shorter than a window is left out; a scan shorter than one gives one, padded.
        """
        parts = []
        person = self.people[subject]
        for record in person.records:
            length = self.settings.frames * stride_of(record, self.settings)
            count = max(1, aligned_frames(record, self.settings) // length)
            starts = range(0, count * length, length)
            parts += [self._window_at(person.store, record, start) for start in starts]
        return _stack(parts)

    def whole_scans(self, subject: int) -> list[tuple[Float32, Mask, Mask]]:
        """Each scan of a person as windows side by side that cover it, the last one padded.

        What sums over all frames read: [n, R, T], valid frames [n, T], valid ROIs [n, R].
        """
        person = self.people[subject]
        scans = []
        for record in person.records:
            length = self.settings.frames * stride_of(record, self.settings)
            starts = range(0, aligned_frames(record, self.settings), length)
            scans.append(_stack([self._window_at(person.store, record, i) for i in starts]))
        return scans

    def _window_at(self, store: int, record: ScanRecord, start: int) -> Window:
        """The window of a scan that begins with one of its aligned frames."""
        series, roi_valid = self._aligned.get(store, record)
        stride, length = stride_of(record, self.settings), self.settings.frames
        if stride == 1:
            part = series[:, start : start + length]
        else:
            part = series[:, official_indices(series.shape[1], length, stride, start)]
        frame_valid = np.arange(length) < part.shape[1]
        if part.shape[1] < length:
            part = np.pad(part, ((0, 0), (0, length - part.shape[1])))
        return Window(part, frame_valid, roi_valid)


def _refuse_other_atlases(stores: Sequence[Scans]) -> None:
    if not stores or not any(store.records for store in stores):
        raise ValueError(
            "expected at least one store with a scan, found none; import scans first "
            "(brainjepa import)"
        )
    for store in stores[1:]:
        if store.atlas.rois != stores[0].atlas.rois:
            raise ValueError(
                f"expected stores of one atlas, found '{stores[0].atlas.name}' "
                f"({len(stores[0].atlas)} ROIs) and '{store.atlas.name}' ({len(store.atlas)}), or "
                "another order of ROIs; import all of them with the same atlas"
            )


def _stack(windows: list[Window]) -> tuple[Float32, Mask, Mask]:
    signals, frames, rois = zip(*windows, strict=True)
    return np.stack(signals), np.stack(frames), np.stack(rois)
