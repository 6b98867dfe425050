"""From a site's files to its store: scan by scan, in parallel, and again from where it stopped.

A scan is finished once its report is on disk, which is written after the scan is in the store. A
kill in between costs that scan's work and changes nothing: a store takes the same scan twice
without harm. Scans enter in the order of their names, so that killed and whole runs give one store.
The store follows its files: what they say today replaces what they said before.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from brainjepa_client.consent.audit_log import on_removed, people_removed
from brainjepa_client.preparing.scan import Job, Prepared, prepare_scan, space_of
from brainjepa_client.preparing.scan_reports import Reports
from brainjepa_client.preparing.volumes_room import told_room
from brainjepa_client.quality.ratings import on_unknown, read_ratings
from brainjepa_client.quality.table import ScanReport
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.files import atomic_path, clear_leftovers, read_json
from brainjepa_core.machine.processors import usable_cores
from brainjepa_core.machine.workers import in_order
from brainjepa_core.problems import counted
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.importing.derivatives import (
    clear_half_written,
    derivative_name,
    remove_derivatives,
    require_names_apart,
    write_description,
)
from brainjepa_core.signals.importing.made_from import PREPARATION, content_digest
from brainjepa_core.signals.importing.relabel import relabel
from brainjepa_core.signals.inputs.find import find_phenotypes, find_scans
from brainjepa_core.signals.preparation import PreparationSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.storing.kept_aligned import ALIGNED, forget_removed
from brainjepa_core.signals.storing.scan_arrays import VOLUMES
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.signals.storing.vectors import keep_people_of
from brainjepa_core.signals.tables.labels import join_labels, person_label
from brainjepa_core.signals.tables.phenotypes import JoinedPhenotypes, told_displacement

NUMBERS = 1  # raised when the same files and settings give other numbers: the code that matters
# Changing these changes no scan.
EXAMPLES = 10  # labels that are told where one is not known
WITHOUT_EFFECT = {"processes", "quality", "derivatives", "phenotypes", "missing"}


@dataclass(frozen=True)
class Preparation:
    """What there is to do for a site; `of` finds it out, `run` does it.

    Attributes
    ----------
    aligned : Path
        Where the site keeps aligned scans.
    found, finished : int
        Scans found, and those an earlier run has finished.
    waiting : tuple of Job
        The others.
    phenotypes : JoinedPhenotypes
        Of the people of all scans found.
    others : frozenset of str
        Subjects who have scans and were not asked for; a store that began anew will have them.
    told : tuple of str
        What finding the scans told, such as files passed over.
    changes : tuple of str
        What else has been done to the store, and what should be known of it, a sentence each.
    """

    settings: PreparationSettings
    atlas: Atlas
    store: ScanStore
    reports: Reports
    aligned: Path
    phenotypes: JoinedPhenotypes
    found: int
    finished: int
    waiting: tuple[Job, ...]
    others: frozenset[str] = frozenset()
    told: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, site: SiteSettings, people: Sequence[str] = (), *, drop_gone: bool = False
    ) -> Preparation:
        """Look for scans, and bring the store to what can be said without reading them.

        Parameters
        ----------
        site : SiteSettings
            With ``prepare``.
        people : sequence of str
            Subjects to work on, with or without ``sub-``; all by default.
        drop_gone : bool
            Take scans whose files are gone out of the store; else they are named only, for a disk
            may just not be mounted.

        Raises
        ------
        ValueError
            If there is no scan, the atlas, phenotypes or ratings cannot be used, derivatives of two
            scans would have one name, or the store was made with other settings.
        BlockingIOError
            If another command is writing into the store.
        """
        settings = site.preparation()
        atlas = load_atlas(settings.atlas)
        found = find_scans(settings, atlas)
        _require_all(people, [scan.subject for scan in found.scans])
        if settings.derivatives is not None:
            require_names_apart((scan.key for scan in found.scans), atlas)
        # Read first: what is wrong in them leaves no store, and an old one as it was.
        tables, ratings = find_phenotypes(settings), read_ratings(site.quality)
        store = _store(site, settings, atlas)
        with store.writing(wait=False):
            store.tidy()
            renewed = _note_settings(store, settings, atlas)
            store.withdraw(people_removed(site.state))
            here = [scan for scan in found.scans if not store.withdrawn.has(scan.subject)]
            chosen = _of_people(here, people)
            phenotypes = tables.joined(s.key[:2] for s in here)
            relabelled = relabel(store, phenotypes, {scan.key for scan in chosen})
            gone = sorted({r.key for r in store.records} - {scan.key for scan in here})
            if drop_gone and not people:
                _leave(store, settings, atlas, gone)
            forget_removed(site.state / ALIGNED, store)
            keep_people_of(store, {scan.subject for scan in here})
            reports = Reports(site.quality, {record.key for record in store.records})
            if renewed or not people:
                reports.keep_only(() if renewed else here)
            for problem in found.problems:
                reports.write_problem(problem)
        waiting = tuple(
            job
            for scan in chosen
            if not reports.is_finished(
                *(job := Job(scan, _told_fd(phenotypes, scan), ratings.get(scan.key)))
            )
        )
        changes = (
            *on_removed(len(found.scans) - len(here)),
            *_on_phenotypes(relabelled),
            *on_unknown(ratings, {scan.key for scan in here}),
            *(() if people else _on_gone(gone, drop_gone)),
            *told_room(settings.volumes, [job.scan for job in waiting], site.store),
        )
        done = len(chosen) - len(waiting)
        told = tuple(found.told())
        others = frozenset(s.subject for s in here) - {s.subject for s in chosen}
        return cls(
            settings, atlas, store, reports, site.state / ALIGNED, phenotypes, len(chosen), done,
            waiting, others, told, changes,
        )  # fmt: skip

    def notes(self) -> list[str]:
        """What a data manager should know of files and people, a sentence each."""
        return [*self.told, *self.phenotypes.notes(), *self.changes]

    def run(self) -> Generator[ScanReport, None, None]:
        """Prepare the waiting scans; a report for each, once it is on disk.

        Raises
        ------
        BlockingIOError
            If another command is writing into the store.
        """
        processes = self.settings.processes or usable_cores()
        processes = max(1, min(processes, len(self.waiting)))
        folders = self.reports.figures, self.store.path / VOLUMES
        work = partial(prepare_scan, self.settings, self.atlas, *folders)
        with self.store.writing(wait=False):
            self._clear_leftovers()
            if self.settings.derivatives is not None:
                write_description(self.settings.derivatives)
            try:
                with closing(in_order(work, self.waiting, processes)) as results:
                    for job, prepared in zip(self.waiting, results, strict=True):
                        report = self._keep(job.scan, prepared)
                        self.reports.write(job.scan, report, job.told_fd, job.rating)
                        yield report
                keep_people_of(self.store, self.others)
            finally:
                self._clear_leftovers()
                forget_removed(self.aligned, self.store)

    def _clear_leftovers(self) -> None:
        """Remove what processes that were killed had half-written."""
        clear_leftovers(self.reports.figures)
        clear_leftovers(self.store.path / VOLUMES)
        if self.settings.derivatives is not None:
            clear_half_written(self.settings.derivatives)

    def _keep(self, scan: FoundScan, prepared: Prepared) -> ScanReport:
        """Put a scan that passed into the store; what has not passed, or is refused, leaves it."""
        if prepared.series is None:
            _leave(self.store, self.settings, self.atlas, [scan.key])
            return prepared.report
        try:
            self.store.append(
                prepared.series,
                subject=scan.subject,
                session=scan.session,
                run=scan.run,
                tr=prepared.tr,
                qc=prepared.report.quality,
                phenotypes=self.phenotypes.of(scan.subject, scan.session),
                volumes=prepared.volumes,
                replace=True,
            )
        except ValueError as error:
            _leave(self.store, self.settings, self.atlas, [scan.key])
            expected = "a scan that the store takes"
            problem = ScanProblem(scan.files[0], expected, str(error), "see the message")
            return prepared.failed(problem)
        finally:
            if prepared.volumes is not None:  # where the store has them already
                prepared.volumes.path.unlink(missing_ok=True)
        return prepared.report


def _require_all(people: Sequence[str], found: Sequence[str]) -> None:
    """Refuse labels of whom there is no scan, saying which labels there are."""
    there = sorted({person_label(subject) for subject in found})
    known = join_labels(map(person_label, people), there)
    unknown = [label for label in people if person_label(label) not in known]
    if unknown:
        more = " ..." if len(there) > EXAMPLES else ""
        raise ValueError(
            f"expected scans of everybody named, found none of {', '.join(unknown)}; the labels "
            f"that files have are {', '.join(there[:EXAMPLES])}{more}"
        )


def _of_people(scans: Sequence[FoundScan], people: Sequence[str]) -> list[FoundScan]:
    """Scans of some people; of all if none is named."""
    named = join_labels(
        map(person_label, people), (person_label(scan.subject) for scan in scans)
    ).values()
    return [scan for scan in scans if not people or person_label(scan.subject) in named]


def _told_fd(phenotypes: JoinedPhenotypes, scan: FoundScan) -> float | None:
    """Mean displacement in mm that phenotypes tell of a scan."""
    return told_displacement(phenotypes.of(scan.subject, scan.session))


def _leave(
    store: ScanStore, settings: PreparationSettings, atlas: Atlas, keys: Iterable[Key]
) -> None:
    """Take scans out of the store, and what was written of them for other tools.

    The store comes last: after a kill it is what tells the next run that there is work left.
    """
    if settings.derivatives is not None:
        for key in keys:
            name = derivative_name(key, space_of(settings), atlas)
            remove_derivatives(settings.derivatives, key[0], name)
    store.remove(keys)


def _on_phenotypes(relabelled: int) -> list[str]:
    if not relabelled:
        return []
    return [f"phenotypes of {counted(relabelled, 'scan')} in the store were corrected"]


def _on_gone(gone: Sequence[Key], dropped: bool) -> list[str]:
    """A sentence on scans in the store whose files are not found any more."""
    if not gone:
        return []
    people = counted(len({subject for subject, _, _ in gone}), "person", "people")
    first = f"such as {' '.join(filter(None, gone[0]))}"
    if dropped:
        return [f"{counted(len(gone), 'scan')} of {people} left the store, {first}: files are gone"]
    return [
        f"files of {counted(len(gone), 'scan')} of {people} in the store are gone, {first}; bring "
        "them back, take the scans out (site prepare --drop-gone), or remove a person who has "
        "withdrawn (site remove)"
    ]


def _store(site: SiteSettings, settings: PreparationSettings, atlas: Atlas) -> ScanStore:
    """The site's store, new or made with the same settings."""
    if not (site.store / PREPARATION).exists():
        if (site.store / HEADER).exists() and ScanStore.open(site.store).records:
            raise ValueError(
                "expected an empty folder or a store that prepare made, found one that was "
                "imported; give another folder as store"
            )
        return ScanStore.create(site.store, atlas)
    found = read_json(site.store / PREPARATION)
    changed = _differences(found, _what_matters(settings, atlas))
    if changed and ScanStore.open(site.store).records:
        raise ValueError(
            f"expected the settings that the store was prepared with, found others in "
            f"{', '.join(changed)}; go on with those, or give another folder as store"
        )
    return ScanStore.create(site.store, atlas)


def _note_settings(store: ScanStore, settings: PreparationSettings, atlas: Atlas) -> bool:
    """Write beside a store without scans what they are made with; whether that is news."""
    path, told = store.path / PREPARATION, _what_matters(settings, atlas)
    if store.records or (path.exists() and not _differences(read_json(path), told)):
        return False
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return True


def _what_matters(settings: PreparationSettings, atlas: Atlas) -> dict[str, Any]:
    """Settings that scans depend on; files by their content, wherever they lie."""
    told = settings.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    for name in ("folder", "mask"):  # scans with a mask are read alike whether it is needed
        del told["input"][name]
    of_all: dict[str, Path | None] = {"names": settings.input.names}
    if settings.input.label_image is not None:
        labels = LabelImage(settings.input.label_image, atlas, settings.input.label_table)
        of_all |= {"label_image": labels.image, "label_table": labels.names_file}
    for name, path in of_all.items():
        if path is not None:
            told["input"][name] = content_digest([path])
    if Path(settings.atlas).suffix == ".tsv":
        told["atlas"] = content_digest([Path(settings.atlas)])
    return {"numbers": NUMBERS, **told}


def _differences(old: Any, new: Any, where: str = "prepare") -> list[str]:
    """Names of the fields in which two nested settings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [where]
    keys = sorted({*old, *new})
    return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{where}.{key}")]
