"""What would go wrong in `prepare`, from headers alone: seconds for thousands of scans."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from brainjepa_client.consent.audit_log import on_removed, people_removed
from brainjepa_client.preparing.volumes_room import on_volumes
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import load_atlas
from brainjepa_core.files import atomic_path, require_own_table
from brainjepa_core.problems import counted
from brainjepa_core.signals.cleaning.quality import reasons_to_exclude
from brainjepa_core.signals.inputs.find import find_phenotypes, find_scans
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.problems import ScanProblem, require_there
from brainjepa_core.signals.scan import ScanHeader
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.withdrawn import is_among
from brainjepa_core.signals.tables.phenotypes import JoinedPhenotypes, told_displacement

COLUMNS = ("file", "expected", "found", "mend")


@dataclass(frozen=True)
class Validation:
    """What `validate` found.

    Attributes
    ----------
    scans, people : int
        That could be read.
    frames : int
        Of all of them.
    trs : tuple of float
        Repetition times in seconds, ascending.
    problems : tuple of ScanProblem
    without_row : int
        People with scans whom no table of phenotypes names.
    notes : tuple of str
        What else to know of files and tables; may name people, and stays at the site.
    """

    scans: int
    people: int
    frames: int
    trs: tuple[float, ...]
    problems: tuple[ScanProblem, ...]
    without_row: int
    notes: tuple[str, ...] = ()


def validate(site: SiteSettings, progress: Callable[[int], None] = lambda _: None) -> Validation:
    """Look at names and headers of all scans; nothing is written.

    Parameters
    ----------
    site : SiteSettings
        With ``prepare``.
    progress : callable
        Called with the number of scans for each one looked at.

    Raises
    ------
    ValueError
        If there is nothing to look at: no ``prepare``, no atlas, no label image.
    """
    settings = site.preparation()
    found = find_scans(settings, load_atlas(settings.atlas))
    problems = list(found.problems)
    headers, motion = {}, {}
    removed = people_removed(site.state)
    here = [scan for scan in found.scans if not is_among(scan.subject, removed)]
    for scan in here:
        try:
            for file in scan.files:  # headers do not tell that a table was not fetched
                require_there(file)
            headers[scan.key] = scan.check()
            motion[scan.key] = scan.told_fd() if settings.exclude.mean_fd is not None else None
        except ScanProblem as problem:
            problems.append(problem)
        progress(len(here))
    people = {subject for subject, _, _ in headers}
    phenotypes = find_phenotypes(settings).joined(key[:2] for key in headers)
    return Validation(
        len(headers),
        len(people),
        sum(header.frames for header in headers.values()),
        tuple(sorted({round(header.tr, 4) for header in headers.values()})),
        tuple(problems),
        len(phenotypes.without_row),
        (
            *on_removed(len(found.scans) - len(here)),
            *found.told(),
            *_left_out(settings.exclude, headers, motion, phenotypes),
            *on_volumes(
                settings.volumes,
                sum(header.frames for header in headers.values()),
                len(headers),
                site.store,
            ),
            *phenotypes.notes(),
        ),
    )


def _left_out(
    rules: ExclusionSettings,
    headers: Mapping[Key, ScanHeader],
    motion: Mapping[Key, float | None],
    phenotypes: JoinedPhenotypes,
) -> list[str]:
    """How many scans `prepare` will leave out, as far as is known before a signal is read."""
    broken: Counter[str] = Counter()
    scans = 0
    for key, header in headers.items():
        fd = motion[key]
        fd = told_displacement(phenotypes.of(*key[:2])) if fd is None else fd
        known = {"seconds": header.frames * header.tr} | ({} if fd is None else {"mean_fd": fd})
        reasons = reasons_to_exclude(known, rules, rois=1)
        broken.update(reason.rpartition("(")[2].rstrip(")") for reason in reasons)
        scans += bool(reasons)
    if not scans:
        return []
    why = ", ".join(f"{number} by {rule}" for rule, number in sorted(broken.items()))
    return [
        f"prepare will leave out {counted(scans, 'scan')} of {len(headers)}, by what headers and "
        f"tables tell: {why}"
    ]


def problems_as_tsv(problems: Sequence[ScanProblem], root: Path) -> str:
    """One line a problem, files named from `root`."""
    text = StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for problem in problems:
        file = problem.file
        shown = file.relative_to(root) if file.is_relative_to(root) else file
        writer.writerow([shown, problem.expected, problem.found, problem.mend])
    return text.getvalue()


def write_problems(problems: Sequence[ScanProblem], root: Path, path: Path) -> None:
    """Write the table of problems in one step, in the place of an earlier one only."""
    require_own_table(path, COLUMNS)
    with atomic_path(path) as temporary:
        temporary.write_text(problems_as_tsv(problems, root), encoding="utf-8")
