"""File names in the manner of BIDS: the entities they hold, and which scan they mean."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import bids2table

Key = tuple[str, str, str]

# They say how a file was made, not which scan it is.
OF_THE_FILE = {"space", "cohort", "res", "den", "desc", "atlas", "seg", "scale", "stat"}
NOT_ENTITIES = {"suffix", "ext", "datatype"}


def composed(text: str) -> str:
    """Text with accents composed: some file systems take them apart, people stay the same."""
    return unicodedata.normalize("NFC", text)


def bids_entities(name: str) -> dict[str, str]:
    """Entities of a name in its order, with ``suffix`` and ``ext`` where it has them.

    Parsed by bids2table, against the schema of BIDS; entities that BIDS does not know are kept.

    Examples
    --------
    >>> bids_entities("sub-01_task-rest_bold.nii.gz")
    {'sub': '01', 'task': 'rest', 'suffix': 'bold', 'ext': '.nii.gz'}
    """
    found = bids2table.parse_bids_entities(composed(name))
    return {entity: str(value) for entity, value in found.items() if entity and str(value)}


def run_of(entities: Mapping[str, str]) -> str:
    """What tells a scan from the others of its subject and session: ``task-rest_run-1``."""
    apart = OF_THE_FILE | NOT_ENTITIES | {"sub", "ses"}
    return "_".join(f"{name}-{value}" for name, value in entities.items() if name not in apart)


def scan_key(entities: Mapping[str, str]) -> Key:
    """Subject, session and run of the scan that a name means, as the store names them."""
    return f"sub-{entities.get('sub', '')}", entities.get("ses", ""), run_of(entities)
