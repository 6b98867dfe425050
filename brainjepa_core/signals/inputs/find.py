"""What sites have, in six forms; each gives scans that know how to read themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.images.templates import template_note
from brainjepa_core.signals.inputs import archive, fmriprep, series, ukb
from brainjepa_core.signals.inputs.fmriprep import FmriprepScan
from brainjepa_core.signals.inputs.hcp import scans as hcp
from brainjepa_core.signals.inputs.not_taken import not_taken, people_without
from brainjepa_core.signals.inputs.passed_over import PassedOver, in_words
from brainjepa_core.signals.inputs.xcpd import scans as xcpd
from brainjepa_core.signals.preparation import InputSettings, PreparationSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.tables.phenotypes import Phenotypes, read_phenotypes

NO_TABLE = (
    "no table of people lies beside the scans (participants.tsv, phenotype/*.tsv), so that nobody "
    "has phenotypes; name tables as prepare.phenotypes if tasks need them"
)


@dataclass(frozen=True)
class Found:
    """Scans of a site by key, problems of others, and what is passed over.

    Attributes
    ----------
    scans : tuple of FoundScan
    problems : tuple of ScanProblem
    passed_over : tuple of PassedOver
    notes : tuple of str
        What else a data manager should know, a sentence each. May name people, and stays at the
        site.
    """

    scans: tuple[FoundScan, ...]
    problems: tuple[ScanProblem, ...]
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """All that is no problem and has to be known, a sentence each."""
        return [*self.notes, *in_words(self.passed_over)]


def find_scans(settings: PreparationSettings, atlas: Atlas) -> Found:
    """Look for scans where the settings say; names only, nothing is opened but the atlas.

    Raises
    ------
    ValueError
        If there is none at all, or the atlas' label image cannot be used.
    """
    kind = settings.input.kind
    scans: Sequence[FoundScan]
    passed: Sequence[PassedOver] = ()
    if kind == "fmriprep":
        scans, problems = fmriprep.find(settings.input, atlas, settings.cleaning)
    elif kind == "series":
        scans, problems, passed = series.find(settings.input, atlas, settings.phenotypes)
    elif kind == "hcp":
        scans, problems, passed = hcp.find(settings.input, atlas)
    else:
        forms = {"xcpd": xcpd, "ukb": ukb, "archive": archive}
        scans, problems = forms[kind].find(settings.input, atlas)
    known = (*settings.phenotypes, settings.input.names, settings.input.label_table)
    tables = {path.resolve() for path in known if path is not None}
    told = tables | {file for file, _ in passed}
    over = (*passed, *not_taken(settings.input, scans, problems, told))
    if not scans and not problems:
        task = f" of task '{settings.input.task}'" if settings.input.task else ""
        instead = f" ({'; '.join(in_words(over))})" if over else ""
        raise ValueError(
            f"expected scans{task} in the form '{kind}' in '{settings.input.folder}', found none"
            f"{instead}; correct input.folder, input.kind or input.task"
        )
    without = people_without(settings.input, scans, problems)
    notes = (*_label_notes(settings.input), *_mask_notes(scans), *without)
    ordered = tuple(sorted(scans, key=lambda scan: scan.key))
    return Found(ordered, tuple(problems), over, notes)


def _label_notes(settings: InputSettings) -> list[str]:
    """Whether a label image's name tells that it is in the space of the scans."""
    if settings.kind != "fmriprep" or settings.space == fmriprep.FSLR:
        return []
    assert settings.label_image is not None
    return template_note(settings.label_image, settings.space)


def _mask_notes(scans: Sequence[FoundScan]) -> list[str]:
    """How many volumes are read without a brain mask, where the site allows it."""
    without = [s for s in scans if isinstance(s, FmriprepScan) and s.read_whole]
    if not without:
        return []
    return [
        f"{len(without)} of {len(scans)} scans have no brain mask (input.mask: optional), such as "
        f"{without[0].image.name}: their regions average voxels that others' do not"
    ]


def find_phenotypes(settings: PreparationSettings) -> Phenotypes:
    """What is known of the people: the tables named, or those of the input folder.

    Raises
    ------
    ValueError
        If a table cannot be used.
    """
    if settings.phenotypes:
        return read_phenotypes(settings.phenotypes, settings.missing)
    folder = settings.input.folder
    known = read_phenotypes(folder if folder.is_dir() else folder.parent, settings.missing)
    nothing = not known.people and not known.sessions
    return replace(known, notes=(*known.notes, NO_TABLE)) if nothing else known
