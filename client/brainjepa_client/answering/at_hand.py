"""What a site's process has at hand from one request to the next: its open store, people's windows.

Nothing of it outlives what it was made from. Before each use the store's files are looked at, and
who is asked about, and by which settings, is the name under which windows are found again. What a
site's manager decides (settings, contracts) is read from disk for each request, and holds from then
on: only a text that is the same is not parsed again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path

from brainjepa_client.computing.kinds import People, people_of
from brainjepa_client.settings import SiteSettings
from brainjepa_core.files import state_of_file
from brainjepa_core.settings import settings_in
from brainjepa_core.signals.storing.scan_arrays import ARRAYS
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.wire.messages import Assignment
from brainjepa_core.yaml_file import Document, read_yaml

LIMIT = 4 << 30  # bytes of aligned scans, of all stores and studies together
STORES = 64  # of a process, which has one but where sites are virtual
SETTLED = 2.0  # seconds after which another change of a file shows in its time on any file system

FileStates = tuple[tuple[int, ...] | None, ...]


class AtHand:
    """Open stores, and the windows of their people; the latest used ones.

    Parameters
    ----------
    limit : int
        Bytes of aligned scans in memory; those of the request at hand are kept in any case.
    stores : int
        How many stores are kept open, and windows of how many studies.
    keeps : bool
        Whether aligned scans are kept on the site's disk, too.
    """

    def __init__(self, limit: int = LIMIT, stores: int = STORES, *, keeps: bool = True) -> None:
        self.limit, self.stores, self.keeps = limit, stores, keeps
        self._open: OrderedDict[Path, tuple[FileStates | None, ScanStore]] = OrderedDict()
        self._people: OrderedDict[tuple[Path, str], People] = OrderedDict()
        self._documents: OrderedDict[Path, Document] = OrderedDict()

    def settings(self, path: Path) -> SiteSettings:
        """What a site's YAML says now.

        Raises
        ------
        ValueError
            As `read_settings`.
        """
        document = self._documents[path] = read_yaml(path, self._documents.pop(path, None))
        while len(self._documents) > self.stores:
            self._documents.popitem(last=False)
        return settings_in(document, path, SiteSettings)

    def store(self, path: Path) -> ScanStore:
        """The store as it is on disk now.

        Raises
        ------
        ValueError
            As `ScanStore.open`.
        """
        now, (known, store) = _states(path), self._open.get(path, (None, None))
        if store is None or known is None or known != now:
            self._forget(path)
            store = ScanStore.open(path)
            self._open[path] = now if _are_settled(now) else None, store
        self._open.move_to_end(path)
        while len(self._open) > self.stores:
            self._forget(next(iter(self._open)))
        return store

    def people(self, settings: SiteSettings, store: ScanStore, study: Assignment) -> People:
        """Whom a request is about, with the aligned scans that earlier requests have read."""
        known = self.known_people(settings, store, study)
        found = known or people_of(settings, store, study, keeps=self.keeps)
        if self._is_open(store):
            self._people[_name(settings, study)] = found
            self._people.move_to_end(_name(settings, study))
            self._shrink()
        return found

    def known_people(
        self, settings: SiteSettings, store: ScanStore, study: Assignment
    ) -> People | None:
        """As `people`, where they are at hand."""
        found = self._people.get(_name(settings, study))
        return found if found is not None and found.store is store else None

    def _is_open(self, store: ScanStore) -> bool:
        return any(store is one for _, one in self._open.values())

    def _shrink(self) -> None:
        """Let go of the oldest windows, but for those of the request at hand."""
        while len(self._people) > 1 and (
            self.bytes > self.limit or len(self._people) > self.stores
        ):
            self._people.popitem(last=False)

    @property
    def bytes(self) -> int:
        """Of aligned scans in memory."""
        return sum(people.windows.bytes_at_hand for people in self._people.values())

    def _forget(self, path: Path) -> None:
        self._open.pop(path, None)
        for name in [name for name in self._people if name[0] == path]:
            del self._people[name]


def _name(settings: SiteSettings, study: Assignment) -> tuple[Path, str]:
    """Everything beside the store that decides whom a request is about, and their windows."""
    who = study.model_dump_json(include={"pretraining", "folds", "held_out_fold"})
    return settings.store, f"{settings.model_dump_json()}\n{who}"


def _states(path: Path) -> FileStates:
    """What shows that a store is another one: of header, table, and folder of arrays.

    An array's name is a hash of its content, so that the folder shows every change of one.
    """
    return tuple(state_of_file(path / name) for name in (HEADER, TABLE, ARRAYS))


def _are_settled(states: FileStates) -> bool:
    """Whether a change that is yet to come will show: not in the same tick as the last one."""
    latest = time.time_ns() - int(SETTLED * 1e9)
    return all(state is not None and state[-1] < latest and state[-2] < latest for state in states)
