"""Phenotypes of scans that are in a store already: brought to what the tables say today."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from brainjepa_core.signals.importing.made_from import PREPARATION
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.tables.phenotypes import (
    JoinedPhenotypes,
    read_phenotypes,
    told_displacement,
)


def relabel(store: ScanStore, phenotypes: JoinedPhenotypes, keys: Collection[Key]) -> int:
    """Give scans of a store the phenotypes of the tables; returns how many had others.

    Parameters
    ----------
    store : ScanStore
    phenotypes : JoinedPhenotypes
        Of the people of these scans at least.
    keys : collection of (subject, session, run)
        The scans to look at.
    """
    asked = set(keys)
    with store.writing():
        told = [
            replace(record, phenotypes=phenotypes.of(record.subject, record.session))
            for record in store.records
            if record.key in asked
        ]
        known = {record.key: record.phenotypes for record in store.records}
        changed = [record for record in told if record.phenotypes != known[record.key]]
        if changed:
            store.amend(changed)
    return len(changed)


def relabel_imported(store: ScanStore, tables: Collection[Path]) -> tuple[int, list[str]]:
    """Give all scans of an imported store the phenotypes of tables.

    Mean displacement that a table tells replaces what one told before.

    Parameters
    ----------
    store : ScanStore
    tables : collection of Path
        As for `read_phenotypes`.

    Returns
    -------
    (int, list of str)
        How many scans had other facts; what should be known of the people, a sentence each.

    Raises
    ------
    ValueError
        If a table cannot be used, or the store is one that ``site prepare`` keeps.
    """
    if (store.path / PREPARATION).exists():
        raise ValueError(
            f"expected a store that was imported, found '{store.path}', which `brainjepa site "
            "prepare` keeps; name the tables in prepare.phenotypes and run that again"
        )
    joined = read_phenotypes(list(tables)).joined((r.subject, r.session) for r in store.records)
    with store.writing():
        changed = []
        for record in store.records:
            row = joined.of(record.subject, record.session)
            quality = {name: value for name, value in record.qc.items() if name != "mean_fd"}
            motion = told_displacement(row)
            if motion is not None:
                quality["mean_fd"] = motion
            if (row, quality) != (record.phenotypes, record.qc):
                changed.append(replace(record, phenotypes=row, qc=quality))
        if changed:
            store.amend(changed)
    return len(changed), joined.notes()
