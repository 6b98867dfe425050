"""What sites have, in six forms; each gives scans that know how to read themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs import archive, fmriprep, hcp, series, ukb, xcpd
from brainjepa_core.signals.inputs.passed_over import PassedOver
from brainjepa_core.signals.preparation import PreparationSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.tables.phenotypes import Phenotypes, read_phenotypes


@dataclass(frozen=True)
class Found:
    """Scans of a site by key, problems of others, and what is passed over."""

    scans: tuple[FoundScan, ...]
    problems: tuple[ScanProblem, ...]
    passed_over: tuple[PassedOver, ...] = ()


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
    if not scans and not problems:
        task = f" of task '{settings.input.task}'" if settings.input.task else ""
        raise ValueError(
            f"expected scans{task} in the form '{kind}' in '{settings.input.folder}', found none; "
            "correct input.folder, input.kind or input.task"
        )
    return Found(tuple(sorted(scans, key=lambda scan: scan.key)), tuple(problems), tuple(passed))


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
    return read_phenotypes(folder if folder.is_dir() else folder.parent, settings.missing)
