"""A person withdraws: out of the store and all that was made beside it, for good.

Every step can be repeated, and the one that keeps the person from coming back is the first: after a
kill the same command finishes the work.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_client.answering.site import LOG
from brainjepa_client.computing.exchange import LOG as JOB_LOG
from brainjepa_client.consent.audit_log import (
    REMOVED,
    audit_log,
    people_removed,
    site_salt,
)
from brainjepa_client.consent.made_of_people import forget_made_of_people
from brainjepa_client.consent.participation import TakenPart, part_taken
from brainjepa_client.consent.results_made import results_made
from brainjepa_client.deploying.run_folder import FOLDER
from brainjepa_client.preparing.scan_reports import Reports
from brainjepa_client.quality.ratings import forget_ratings
from brainjepa_client.settings import SiteSettings
from brainjepa_core.arrays import load_arrays, save_arrays
from brainjepa_core.command.command_log import LOG as COMMAND_LOG
from brainjepa_core.evaluation.comparison import CACHE as OF_EVALUATION
from brainjepa_core.files import atomic_path
from brainjepa_core.pretraining.loop import BAD_BATCH
from brainjepa_core.problems import counted
from brainjepa_core.signals.importing.derivatives import remove_derivatives
from brainjepa_core.signals.storing.kept_aligned import ALIGNED, forget_removed
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.vectors import keep_people_of
from brainjepa_core.signals.storing.withdrawn import Fingerprint, is_among
from brainjepa_core.signals.tables.labels import join_labels, person_label

GONE = "[removed]"  # in the place of a name in logs
ASKED = "--participant-label"


@dataclass(frozen=True)
class Removal:
    """What `remove_person` did.

    Attributes
    ----------
    scans : int
        That were in the store.
    before : bool
        Whether the person had been removed by an earlier call, too.
    studies : tuple of TakenPart
    results : tuple of str
        Results that rest on the site's people and have to be made anew to be without this one.
    """

    scans: int
    before: bool
    studies: tuple[TakenPart, ...]
    results: tuple[str, ...]

    def in_words(self) -> list[str]:
        """What the data manager has to know, and to tell the consortium, a line each."""
        again = ", as before" if self.before else ""
        lines = [
            f"removed{again}: {counted(self.scans, 'scan')} left the store, with reports, pictures,"
            " derivatives, embeddings and caches; the person will not be let in again"
        ]
        lines += [part.in_words() for part in self.studies]
        if not self.studies:
            lines.append("no study has asked this site for anything that held them")
        lines += [f"made with the people before: {what}; make it anew" for what in self.results]
        lines.append(
            "files outside (scans, tables, backups, runs of `brainjepa pretrain` and `evaluate`) "
            "are yours to remove"
        )
        return lines


def remove_person(site: SiteSettings, person: str) -> Removal:
    """Take a person out of store, reports, pictures, derivatives, caches, embeddings and logs.

    Parameters
    ----------
    site : SiteSettings
    person : str
        Label, with or without ``sub-``.

    Returns
    -------
    Removal

    Raises
    ------
    ValueError
        If nobody of that name is or was here, or the name means two people.
    BlockingIOError
        If another command is writing into the store.
    """
    store, reports = ScanStore.open(site.store), Reports(site.quality)
    salt = site_salt(site.state)
    with store.writing(wait=False):
        keys = [*(r.key for r in store.records), *(r.key for r in reports.all())]
        label, before = _known_label(person, keys, site.state)
        person_mark = Fingerprint.of(label, salt)
        studies = tuple(part_taken(site.state, label, salt))
        if not before:
            parts = {part.study: part.to_json() for part in studies}
            facts = {"event": REMOVED, **person_mark._asdict(), "studies": parts}
            audit_log(site.state).append(facts)
        scans = store.withdraw([person_mark])
        store.tidy()
        forget_removed(site.state / ALIGNED, store)
        keep_people_of(store)
    theirs = sorted({key for key in keys if person_label(key[0]) == label})
    if site.prepare is not None and site.prepare.derivatives is not None:
        remove_derivatives(site.prepare.derivatives, label)
    results = _clear_results(site.state, label)
    _clear_state(site, label, {key[0] for key in theirs})
    forget_ratings(site.quality, label)
    reports.remove(theirs)  # last: it is what finds the person again after a kill
    return Removal(scans, before, studies, tuple(results))


def _known_label(person: str, keys: Sequence[Key], state: Path) -> tuple[str, bool]:
    """The label of the person meant, and whether they were removed before."""
    asked = person_label(person)
    removed = is_among(asked, people_removed(state))
    here = {person_label(subject) for subject, _, _ in keys}
    meant = join_labels([asked], here).get(asked)
    if meant is None and not removed:
        raise ValueError(
            f"expected a person of this site's store or reports, found none named '{person}'; "
            f"spell the label as the store does (`brainjepa site check` counts {len(here)} people)"
        )
    return (asked, True) if meant is None else (meant, removed and meant == asked)


def _clear_results(state: Path, label: str) -> list[str]:
    """Take the person out of embeddings; name the results that have to be made anew."""
    anew = []
    for what, path in results_made(state):
        if path.suffix == ".npz":
            _without(path, label)
        else:
            shutil.rmtree(path / OF_EVALUATION, ignore_errors=True)
            anew.append(f"{what} in '{path}'")
    return anew


def _without(path: Path, label: str) -> None:
    """Drop a person's row of a file of embeddings."""
    arrays = load_arrays(path)
    keep = np.array([person_label(str(subject)) != label for subject in arrays["subject"]], bool)
    if keep.all():
        return
    rows = {k: v[keep] if v.ndim and len(v) == len(keep) else v for k, v in arrays.items()}
    save_arrays(path, rows)


def _clear_state(site: SiteSettings, label: str, subjects: Collection[str]) -> None:
    """Remove caches, and the person's names from logs and lists of bad batches."""
    state = site.state
    forget_made_of_people(state)
    names = {f"sub-{label}", *subjects}
    for logs in (f"{LOG}*", f"*/{BAD_BATCH}", f"{FOLDER}/*.log*", f"*/*/{JOB_LOG}"):
        for path in state.glob(logs):
            _rewrite(path, names, label)
    made = [path if path.is_dir() else path.parent for _, path in results_made(state)]
    for folder in {state, site.quality, *made}:
        _rewrite(folder / COMMAND_LOG, names, label)


def _rewrite(path: Path, names: Collection[str], label: str) -> None:
    """Put `GONE` in the place of names in a text file."""
    if not path.exists():
        return
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    named = re.compile(rf"(?<![\w.:-])({words})(?![\w-])")  # nor within 03:22:11
    asked = re.compile(rf"(?<![\w.,:/-]){re.escape(label)}(?![\w.:/-])")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [
        asked.sub(GONE, line) if ASKED in line else line  # where a bare label is a person
        for line in named.sub(GONE, text).splitlines(keepends=True)
    ]
    if "".join(lines) != text:
        with atomic_path(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
