"""Scans at one TR and one scale: from memory, from the site's disk, or made of the store's.

Shapes: R ROIs, F frames of an aligned scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.signals.people import Person, aligned_frames
from brainjepa_core.signals.scaling import RobustScale, official_scale, pooled_scale, zscore
from brainjepa_core.signals.storing.kept_aligned import KeptAligned, KeptScans
from brainjepa_core.signals.storing.scan_cache import ScanCache
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.temporal import resample
from brainjepa_core.signals.window_settings import WindowSettings

Mask = NDArray[np.bool_]


class AlignedScans:
    """Aligned scans of some stores; many `Windows` of the same people share one.

    Parameters
    ----------
    stores : sequence of Scans
    settings : WindowSettings
    people : sequence of Person
        Whose scans a scale is learned from, where scaling learns one.
    cache_bytes : int
        Kept in memory.
    kept : KeptAligned, optional
        Where they are kept on disk, if the store is there itself.

    Attributes
    ----------
    kept : KeptScans, optional
        Where the scans of the only store are on disk.

    Raises
    ------
    ValueError
        If scans of several stores are to be kept, or they give no scale.
    """

    def __init__(
        self,
        stores: Sequence[Scans],
        settings: WindowSettings,
        people: Sequence[Person],
        cache_bytes: int,
        kept: KeptAligned | None = None,
    ) -> None:
        self.stores, self.settings = tuple(stores), settings
        self._scales = [self._scale(scans) for scans in self._scans_of(people)]
        self._cache = ScanCache(cache_bytes)
        self.kept = None if kept is None else self._kept_in(kept, people)

    def _kept_in(self, kept: KeptAligned, people: Sequence[Person]) -> KeptScans | None:
        if len(self.stores) > 1:
            raise ValueError(
                f"expected one store whose aligned scans are kept on disk, found "
                f"{len(self.stores)}, of which each would empty the others' place; keep those of "
                "each store by itself, or none"
            )
        (store,), (scale,) = self.stores, self._scales
        if not isinstance(store, ScanStore):
            return None
        records = (record for person in people for record in person.records)
        scans = [(record, aligned_frames(record, self.settings)) for record in records]
        return kept.of(store, self.settings, scale, scans)

    @property
    def bytes_at_hand(self) -> int:
        """In memory."""
        return self._cache.bytes

    def get(self, store: int, record: ScanRecord) -> tuple[Float32, Mask]:
        """Series [R, F], 0 where an ROI is missing, and valid ROIs [R]; read-only."""
        return self._cache.get((store, record.key), lambda: self._found_or_made(store, record))

    def scaled_on(self, people: Sequence[Person]) -> AlignedScans:
        """The same scans with a scale that is learned from some people only, not kept on disk.

        A site's scale comes from its own people among them; a site without any, or with too few
        scans for a scale, has that of all of them together.

        Raises
        ------
        ValueError
            If their scans give no scale.
        """
        own = self._scans_of(people)
        shared = self._scale([scan for scans in own for scan in scans])
        least = 2 if self.settings.scaling == "official" else 1  # one temporal mean has no spread
        other = AlignedScans(self.stores, self.settings, (), self._cache.limit)
        other._scales = [self._scale(scans) if len(scans) >= least else shared for scans in own]
        return other

    def unlisted(self) -> AlignedScans:
        """The same scans, light to hand to another process: stores list none, memory has none."""
        stores = [s.unlisted() if isinstance(s, ScanStore) else s for s in self.stores]
        other = AlignedScans(stores, self.settings, (), self._cache.limit)
        other._scales, other.kept = self._scales, self.kept
        return other

    def _found_or_made(self, store: int, record: ScanRecord) -> tuple[Float32, Mask]:
        if self.kept is None:
            return self._made(store, record)
        shape = len(self.stores[store].atlas), aligned_frames(record, self.settings)
        found = self.kept.read(record, *shape)
        if found is None:
            found = self._made(store, record)
            self.kept.write(record, *found)
        return found

    def _made(self, store: int, record: ScanRecord) -> tuple[Float32, Mask]:
        series = self.stores[store].series(record)
        scale = self._scales[store]
        scaled = zscore(series) if scale is None else scale.apply(series)
        if self.settings.temporal == "antialias" and record.tr != self.settings.tr:
            # Scaled first, so that a clipped spike does not ring; and again, since the low-pass
            # takes more variance from the scans of a fast site.
            scaled = resample(scaled, record.tr, self.settings.tr)
            scaled = zscore(scaled) if scale is None else scaled
        valid: Mask = np.logical_and.reduce(np.isfinite(scaled), axis=1)
        scaled[~valid] = 0
        return scaled, valid

    def _scans_of(self, people: Iterable[Person]) -> list[list[tuple[Scans, ScanRecord]]]:
        """Scans of some people, a list a store."""
        scans: list[list[tuple[Scans, ScanRecord]]] = [[] for _ in self.stores]
        for person in people:
            scans[person.store] += [(self.stores[person.store], r) for r in person.records]
        return scans

    def _scale(self, scans: Sequence[tuple[Scans, ScanRecord]]) -> RobustScale | None:
        if self.settings.scaling == "zscore" or not scans:
            return None
        series = (_known_series(store, record) for store, record in scans)
        if self.settings.scaling == "official":
            return official_scale(series)
        return pooled_scale(series, len(scans))


def _known_series(store: Scans, record: ScanRecord) -> NDArray[np.floating]:
    """A scan [R, F] with NaN for all that it misses, also where its file has numbers."""
    series = store.series(record)
    if not record.missing:
        return series
    missing = np.isin(store.atlas.rois, record.missing)
    return np.where(missing[:, None], np.float32(np.nan), series)
