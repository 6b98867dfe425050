"""What of a site's files was not taken, and why: nothing is passed over in silence.

Every image and table below the input folder is among the files of a scan found, named by a problem,
or counted here. Not looked at are folders of other data (`ASIDE`) and tables of people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from brainjepa_core.signals.inputs import ukb
from brainjepa_core.signals.inputs.bids import NATIVE, VERSIONS, WORDS
from brainjepa_core.signals.inputs.fmriprep import (
    COMPRESSED,
    CONFOUNDS,
    FSLR,
    PLAIN,
    SURFACE,
    VOLUME,
)
from brainjepa_core.signals.inputs.hcp.scans import REST as HCP_REST
from brainjepa_core.signals.inputs.hcp.scans import RESULTS
from brainjepa_core.signals.inputs.parcellated import walk
from brainjepa_core.signals.inputs.passed_over import PassedOver
from brainjepa_core.signals.inputs.xcpd import scans as xcpd
from brainjepa_core.signals.preparation import InputSettings, Kind
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.tables.bids_names import bids_entities

IMAGES = ("nii", "gii", "mgz", "mgh", "img")
TABLES = ("tsv", "csv", "txt", "1D", "npy", "npz", "h5", "hdf5", "mat", "zip")
DATA = re.compile(rf"\.({'|'.join((*IMAGES, *TABLES))})(\.(gz|bz2|xz|zst))?$", re.I)
# Folders of other data: anatomy, other modalities, pictures and logs, what scans were made from.
ASIDE = frozenset(
    (
        *("anat", "beh", "code", "dwi", "eeg", "figures", "fmap", "ieeg", "meg", "micr", "perf"),
        *("pet", "freesurfer", "log", "logs", "sourcedata", "stimuli", "unprocessed"),
        *("Native", "ROIs", "T1w", "T2w", "fsaverage_LR32k", "fsaverage_LR59k", "xfms"),  # of HCP
    )
)
RUN_TABLES = ("events", "physio", "stim", "scans", "sessions", "blood")  # of BIDS, about a run
PLACE = re.compile(r"sub-[^/]*/(ses-[^/]*/)?func/sub-[^/]*")
NO_SERIES = "neither a series nor its mask or confounds"


def not_taken(
    settings: InputSettings,
    scans: Sequence[FoundScan],
    problems: Sequence[ScanProblem],
    known: Collection[Path] = (),
) -> list[PassedOver]:
    """Files below the input folder that are no part of what was found, with the reason.

    Parameters
    ----------
    settings : InputSettings
    scans, problems : sequence
        What was found.
    known : collection of Path
        Paths of files that are told already, and resolved ones of tables that are read as such.
    """
    if settings.kind not in _WHY:  # a folder of series tells itself, to importers too
        return []
    taken = {file for scan in scans for file in scan.files} | set(known)
    named = "\n".join(f"{problem.file}\n{problem.found}" for problem in problems)
    beside, why = {path.name for path in known}, _WHY[settings.kind]
    over = []
    for file in walk(settings.folder, lambda file: bool(DATA.search(file.name)), ASIDE)[0]:
        if file in taken or file.name in named:
            continue
        reason = "" if file.name in beside and file.resolve() in known else why(file, settings)
        if reason:
            over.append(PassedOver(file, reason))
    return sorted(over, key=lambda passed: passed.why == NO_SERIES)


def people_without(
    settings: InputSettings, scans: Sequence[FoundScan], problems: Sequence[ScanProblem]
) -> list[str]:
    """A sentence about people's folders of which nothing was taken or named, if there are any."""
    patterns = {"fmriprep": "sub-*", "xcpd": "sub-*", "hcp": "*", "ukb": "*"}
    if settings.kind not in patterns:
        return []
    pattern, depth = patterns[settings.kind], len(settings.folder.parts)
    people = {
        path.name
        for path in settings.folder.glob(pattern)
        if (path.is_dir() and path.name[0] != ".") or ("." not in path.name and not path.exists())
    }
    taken = [*(scan.files[0] for scan in scans), *(problem.file for problem in problems)]
    with_scans = {f.parts[depth] for f in taken if f.is_relative_to(settings.folder)}
    without = sorted(people - with_scans)
    if not without:
        return []
    return [
        f"{len(without)} of {len(people)} people's folders hold no scan that was taken, such as "
        f"{without[0]} (a DataLad dataset that was not installed is an empty folder)"
    ]


def _fmriprep(file: Path, settings: InputSettings) -> str:
    suffix = _suffix(file)
    if suffix in RUN_TABLES or not (file.name.startswith("sub-") or suffix == "bold"):
        return ""
    if suffix in ("preproc", "brainmask"):
        return "named as by fMRIPrep before 1.2"
    if suffix not in (*CONFOUNDS, "confounds", "bold", "cbv", "mask"):
        return NO_SERIES
    entities = bids_entities(file.name)
    other_task = _other_task(entities, settings)
    if suffix not in ("bold", "cbv", "mask"):
        return other_task or "tables of no image taken, or not called desc-confounds_timeseries.tsv"
    end = entities.get("ext", "")
    return (
        _elsewhere(file, settings)
        or _other_ending(end, settings)
        or other_task
        or (_other_description(entities) if suffix == "bold" else "")
        or _other_variant(entities, settings)
        or ("single echoes of several" if "echo" in entities else "")
        or (f"{PLAIN} beside {COMPRESSED}" if end == PLAIN and _compressed(file).exists() else "")
        or ("masks of no image taken" if suffix == "mask" else "not taken")
    )


def _suffix(file: Path) -> str:
    """BIDS suffix of a name; parsing whole names of everything would take longer than all else."""
    found = re.search(r"_([A-Za-z0-9]+)\.[^_]*$", file.name)
    return found[1] if found else ""


def _elsewhere(file: Path, settings: InputSettings) -> str:
    place = file.relative_to(settings.folder).as_posix()
    return "" if PLACE.fullmatch(place) else "not sub-*/[ses-*/]func/sub-* in input.folder"


def _other_ending(end: str, settings: InputSettings) -> str:
    if end in (SURFACE if settings.space == FSLR else VOLUME):
        return ""
    if end in SURFACE:
        return f"CIFTI, which input.space {FSLR} takes"
    if end in VOLUME:
        return f"volumes, which input.space {FSLR} does not take"
    return f"{end} is not read"


def _other_task(entities: dict[str, str], settings: InputSettings) -> str:
    task = entities.get("task", "none")
    return "" if settings.task in (None, task) else f"task {task}, not {settings.task} (input.task)"


def _other_description(entities: dict[str, str]) -> str:
    described = entities.get("desc", "")
    if described == "preproc" or (entities.get("ext") in SURFACE and not described):
        return ""
    return f"{f'desc-{described}' if described else 'no desc'}, not desc-preproc"


def _other_variant(entities: dict[str, str], settings: InputSettings) -> str:
    for entity in ("space", *VERSIONS):
        value, told = entities.get(entity, NATIVE), getattr(settings, entity)
        if told not in (None, value):
            return f"{WORDS[entity]} {value}, not {told} (input.{entity})"
    return ""


def _compressed(file: Path) -> Path:
    return file.with_name(f"{file.name}.gz")


def _xcpd(file: Path, settings: InputSettings) -> str:
    suffix = _suffix(file)
    if not file.name.startswith("sub-") or suffix in RUN_TABLES:
        return ""
    if suffix not in ("timeseries", "bold"):
        return "neither series nor their motion and coverage"
    entities = bids_entities(file.name)
    end = entities.get("ext", "")
    if end not in xcpd.TABLES:
        return f"{suffix} as {end}; series of regions are read as .tsv"
    if suffix == "bold":
        return "maps of one number a region"
    return (
        _elsewhere(file, settings)
        or _other_task(entities, settings)
        or (f"desc-{entities['desc']}" if "desc" in entities else "")
        or "of another atlas, space or resolution, or joined from runs that are there"
    )


def _hcp(file: Path, settings: InputSettings) -> str:
    wanted = settings.task or HCP_REST
    form = ".dtseries.nii" if settings.label_image else ".ptseries.nii"
    if not re.search(r"[rt]fMRI|\.[dp]tseries\.nii$", file.name):
        return ""
    if file.parent.parent.parts[-2:] != RESULTS.parts:
        return f"not in {RESULTS}/<run>"
    if wanted.lower() not in file.parent.name.lower():
        return f"runs without '{wanted}' in their name (input.task)"
    if not file.name.endswith(form):
        return f"other files of a run; {form} is read"
    return "other versions of a run, or runs joined from others"


def _ukb(file: Path, settings: InputSettings) -> str:
    if file.name.startswith(ukb.TABLES):
        return "copies of tables that are there"
    return "other tables and archives" if re.search("fmri|zip$", file.name, re.I) else ""


_WHY: dict[Kind, Callable[[Path, InputSettings], str]] = {
    "fmriprep": _fmriprep,
    "xcpd": _xcpd,
    "hcp": _hcp,
    "ukb": _ukb,
}
