"""From a site's files to its store: scan by scan, in parallel, and again from where it stopped.

A scan is finished once its report is on disk, which is written after the scan is in the store. A
kill in between costs that scan's work and changes nothing: a store takes the same scan twice
without harm. Scans enter in the order of their names, so that killed and whole runs give one store.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from brainjepa_client.preparing.scan import Job, Prepared, prepare_scan
from brainjepa_client.preparing.scan_reports import Reports
from brainjepa_client.preparing.workers import in_order
from brainjepa_client.quality.table import ScanReport
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.files import atomic_path, clear_leftovers, read_json
from brainjepa_core.problems import counted
from brainjepa_core.signals.importing.derivatives import require_names_apart, write_description
from brainjepa_core.signals.inputs.find import find_phenotypes, find_scans
from brainjepa_core.signals.preparation import PreparationSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.tables.labels import join_labels, person_label
from brainjepa_core.signals.tables.phenotypes import JoinedPhenotypes, told_displacement

SETTINGS = "preparation.json"  # in the store: what its scans were made with
# Changing these changes no scan.
EXAMPLES = 10  # labels that are told where one is not known
WITHOUT_EFFECT = {"processes", "quality", "derivatives", "phenotypes"}


@dataclass(frozen=True)
class Preparation:
    """What there is to do for a site; `of` finds it out, `run` does it.

    Attributes
    ----------
    found, finished : int
        Scans found, and those an earlier run has finished.
    waiting : tuple of FoundScan
        The others.
    relabelled : int
        Scans in the store whose phenotypes are others now, and have been corrected there.
    gone : tuple of str
        People in the store of whom no file is found any more.
    phenotypes : JoinedPhenotypes
        Of the people of all scans found.
    """

    settings: PreparationSettings
    atlas: Atlas
    store: ScanStore
    reports: Reports
    phenotypes: JoinedPhenotypes
    found: int
    finished: int
    waiting: tuple[FoundScan, ...]
    relabelled: int = 0
    gone: tuple[str, ...] = ()

    @classmethod
    def of(cls, site: SiteSettings, people: Sequence[str] = ()) -> Preparation:
        """Look for scans, and for what earlier runs have done.

        Parameters
        ----------
        site : SiteSettings
            With ``prepare``.
        people : sequence of str
            Subjects to work on, with or without ``sub-``; all by default.

        Raises
        ------
        ValueError
            If there is no scan, the atlas or the phenotypes cannot be used, derivatives of two
            scans would have one name, or the store was made with other settings.
        """
        settings = site.preparation()
        atlas = load_atlas(settings.atlas)
        found = find_scans(settings, atlas)
        named = join_labels(
            map(person_label, people), (person_label(scan.subject) for scan in found.scans)
        ).values()
        scans = [s for s in found.scans if not people or person_label(s.subject) in named]
        _require_all(people, [scan.subject for scan in found.scans])
        phenotypes = find_phenotypes(settings).joined(s.key[:2] for s in found.scans)
        if settings.derivatives is not None:
            require_names_apart((scan.key for scan in found.scans), atlas)
        store = _store(site, settings, atlas)
        reports = Reports(site.quality, {record.key for record in store.records})
        if not people:
            reports.keep_only(found.scans)
        for problem in found.problems:
            reports.write_problem(problem)
        waiting = tuple(scan for scan in scans if not reports.is_finished(scan))
        done = len(scans) - len(waiting)
        relabelled = _relabel(store, phenotypes, {scan.key for scan in scans})
        here = {scan.subject for scan in found.scans}
        gone = () if people else tuple(sorted({r.subject for r in store.records} - here))
        return cls(
            settings, atlas, store, reports, phenotypes, len(scans), done, waiting, relabelled, gone
        )

    def notes(self) -> list[str]:
        """What a data manager should know of the people, a sentence each."""
        notes = self.phenotypes.notes()
        if self.relabelled:
            scans = counted(self.relabelled, "scan")
            notes.append(f"phenotypes of {scans} in the store were corrected")
        if self.gone:
            notes.append(
                f"files of {counted(len(self.gone), 'person', 'people')} in the store are gone, "
                f"such as {self.gone[0]}; "
                "bring them back, or prepare into a new store to be without them"
            )
        return notes

    def run(self) -> Generator[ScanReport, None, None]:
        """Prepare the waiting scans; a report for each, once it is on disk."""
        if self.settings.derivatives is not None:
            write_description(self.settings.derivatives)
        processes = self.settings.processes or len(os.sched_getaffinity(0))
        processes = max(1, min(processes, len(self.waiting)))
        work = partial(prepare_scan, self.settings, self.atlas, self.reports.figures)
        try:
            with closing(in_order(work, map(self._job, self.waiting), processes)) as results:
                for scan, prepared in zip(self.waiting, results, strict=True):
                    report = self._keep(scan, prepared)
                    self.reports.write(scan, report)
                    yield report
        finally:
            self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """Remove what processes that were killed had half-written."""
        clear_leftovers(self.reports.figures)
        if self.settings.derivatives is not None:
            for folder in self.settings.derivatives.glob("sub-*/**/func"):
                clear_leftovers(folder)

    def _job(self, scan: FoundScan) -> Job:
        return Job(scan, told_displacement(self.phenotypes.of(scan.subject, scan.session)))

    def _keep(self, scan: FoundScan, prepared: Prepared) -> ScanReport:
        """Put a scan that passed into the store; what has not passed, or is refused, leaves it."""
        if prepared.series is None:
            self.store.remove([scan.key])
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
                replace=True,
            )
        except ValueError as error:
            self.store.remove([scan.key])
            expected = "a scan that the store takes"
            problem = ScanProblem(scan.files[0], expected, str(error), "see the message")
            return prepared.failed(problem)
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


def _store(site: SiteSettings, settings: PreparationSettings, atlas: Atlas) -> ScanStore:
    """The site's store, new or made with the same settings."""
    told = _what_matters(settings)
    path = site.store / SETTINGS
    if path.exists():
        changed = _differences(read_json(path), told)
        if changed:
            raise ValueError(
                f"expected the settings that the store was prepared with, found others in "
                f"{', '.join(changed)}; go on with those, or give another folder as store"
            )
    elif (site.store / "scans.jsonl").exists() and ScanStore.open(site.store).records:
        raise ValueError(
            "expected an empty folder or a store that prepare made, found one that was imported; "
            "give another folder as store"
        )
    store = ScanStore.create(site.store, atlas)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return store


def _what_matters(settings: PreparationSettings) -> dict[str, Any]:
    """Settings that scans depend on; files by their content, wherever they lie."""
    told = settings.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    del told["input"]["folder"]
    for name in ("label_image", "label_table", "names"):
        path = getattr(settings.input, name)
        if path is not None:
            told["input"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if Path(settings.atlas).suffix == ".tsv":
        told["atlas"] = hashlib.sha256(Path(settings.atlas).read_bytes()).hexdigest()
    return told


def _relabel(store: ScanStore, phenotypes: JoinedPhenotypes, found: set[Key]) -> int:
    """Bring the phenotypes of scans in the store to what the tables say today."""
    told = {r.key: phenotypes.of(r.subject, r.session) for r in store.records if r.key in found}
    changed = {
        r.key: told[r.key] for r in store.records if told.get(r.key, r.phenotypes) != r.phenotypes
    }
    if changed:
        store.amend(changed)
    return len(changed)


def _differences(old: Any, new: Any, where: str = "prepare") -> list[str]:
    """Names of the fields in which two nested settings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [where]
    keys = sorted({*old, *new})
    return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{where}.{key}")]
