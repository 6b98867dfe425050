"""Which template an atlas' file is in, by its name.

BIDS says it as ``space-`` or ``tpl-``, others write it anywhere: Tian
(``..._MNI152NLin6Asym_2mm.nii.gz``, ``..._3T_2009cAsym.nii.gz``), Schaefer and nilearn
(``..._FSLMNI152_2mm.nii.gz``), the MNI (``mni_icbm152_nlin_asym_09c``). Names are TemplateFlow's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from brainjepa_core.signals.problems import ScanProblem

ENTITY = re.compile(r"(?:^|_)(?:space|tpl)-([A-Za-z0-9+]+)")
COHORT = re.compile(r"(?:^|_)cohort-([A-Za-z0-9+]+)")
VAGUE = {"mni", "mni152", "icbm152", "standard"}  # of which there are several

# In small letters; the first that fits a place counts.
_PATTERNS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (
        r"(?:mni152)?(?:nlin)?_?(2009[abc])_?(?:nlin_?)?(a?)sym|nlin_(a?)sym_(09[abc])",
        lambda m: f"MNI152NLin20{(m[1] or m[4])[-3:]}{'Asym' if m[2] or m[3] else 'Sym'}",
    ),
    (r"mni152_?nlin_?6(?:th)?_?(a?)sym", lambda m: f"MNI152NLin6{'Asym' if m[1] else 'Sym'}"),
    # FSL's own template is the asymmetric one of the sixth generation.
    (r"fsl_?mni(?:152)?|mni152_t1", "MNI152NLin6Asym"),
    (r"mni152lin", "MNI152Lin"),
    (r"mni305", "MNI305"),
    (r"mnicolin27|colin27", "MNIColin27"),
    (r"mnipediatricasym", "MNIPediatricAsym"),
    (r"mniinfant", "MNIInfant"),
    (r"uncinfant", "UNCInfant"),
    (r"oasis30ants", "OASIS30ANTs"),
    (r"fsaverage(\d?)", lambda m: f"fsaverage{m[1]}"),
    (r"fs_?lr", "fsLR"),
)
_TEMPLATE = [(re.compile(pattern), name) for pattern, name in _PATTERNS]


def template_of(file: Path) -> str | None:
    """Template that a file's name tells; None if it tells none, or several.

    Examples
    --------
    >>> template_of(Path("Tian_Subcortex_S3_3T_2009cAsym.nii.gz"))
    'MNI152NLin2009cAsym'
    """
    entity = ENTITY.search(file.name)
    if entity:
        known = _templates_in(entity[1])
        told = known.pop() if len(known) == 1 else entity[1]
        return None if told.lower() in VAGUE else told
    known = _templates_in(file.name)
    return known.pop() if len(known) == 1 else None


def _templates_in(text: str) -> set[str]:
    found, rest = set(), text.lower()
    for pattern, name in _TEMPLATE:
        for match in pattern.finditer(rest):
            found.add(name if isinstance(name, str) else name(match))
        rest = pattern.sub(" ", rest)
    return found


def require_template(file: Path, space: str, cohort: str | None) -> None:
    """Refuse a label image that is in another template than the scans, by its name.

    Raises
    ------
    ScanProblem
    """
    named, group = template_of(file), COHORT.search(file.name)
    if named and named != space:
        raise ScanProblem(
            file,
            f"a label image in the scans' space {space}",
            f"one in {named} by its name",
            "give the atlas in that space, or take scans of the image's space",
        )
    if cohort and group and group[1] != cohort:
        raise ScanProblem(
            file,
            f"a label image of the scans' cohort {cohort} (input.cohort)",
            f"one of cohort {group[1]} by its name",
            "give the atlas of that cohort",
        )


def template_note(file: Path, space: str) -> list[str]:
    """A sentence where a label image's name does not tell its template; none where it does."""
    if template_of(file):
        return []
    return [
        f"the name of label image {file.name} tells no template, so nothing shows that it is in "
        f"the scans' space {space}: make sure, or write it into the name (tpl-{space})"
    ]
