"""Virtual sites on this disk: a store, a state folder and a YAML each, as a hospital would have."""

from __future__ import annotations

from pathlib import Path

import yaml

from brainjepa_core.files import atomic_path
from brainjepa_core.signals.archives import import_site_archive
from brainjepa_core.signals.store import HEADER, ScanStore
from server.joining import NAME
from simulations.scenario import Scenario
from simulations.stores import write_cohort

SITES, STORES, STATES = "sites", "stores", "site-state"


def make_sites(scenario: Scenario, folder: Path) -> list[ScanStore]:
    """Write ``FOLDER/sites/<name>.yaml`` for each virtual site, and its store where there is none.

    Sites are in order of their names, which is the order of Flower's partition ids.

    Raises
    ------
    ValueError
        If the data folder holds neither stores nor archives, or fewer sites than the quorum.
    """
    stores = sorted(_stores(scenario, folder), key=lambda path: path.name)
    quorum = scenario.study.rounds.quorum
    if len(stores) < quorum:
        raise ValueError(
            f"expected at least {quorum} sites (study.rounds.quorum), found {len(stores)} in the "
            "data folder; add sites or lower the quorum"
        )
    unfit = sum(not NAME.fullmatch(store.name) for store in stores)
    if unfit:
        raise ValueError(
            "expected names of 1 to 40 letters, digits, - and _ for the sites, found others in "
            f"{unfit} of {len(stores)}; rename their stores or archives"
        )
    for store in stores:
        settings = {
            "name": store.name,
            "store": str(store.resolve()),
            "state": str((folder / STATES / store.name).resolve()),
            "threads": scenario.threads,
            "policy": scenario.policy.model_dump(mode="json"),
        }
        with atomic_path(folder / SITES / f"{store.name}.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
    return [ScanStore.open(store) for store in stores]


def _stores(scenario: Scenario, folder: Path) -> list[Path]:
    if scenario.cohort is not None:
        return write_cohort(scenario.cohort, folder / STORES)
    assert scenario.data is not None
    stores = [path.parent for path in scenario.data.glob(f"*/{HEADER}")]
    participants = scenario.data / "participants.tsv"
    for archive in [] if stores else sorted(scenario.data.glob("*.npz")):
        if archive.name.startswith("project_"):
            continue  # a projection between atlases, not a site
        store = folder / STORES / archive.stem
        import_site_archive(archive, store, participants if participants.exists() else None)
        stores.append(store)
    if not stores:
        raise ValueError(
            "expected scan stores or site archives (.npz) in the data folder, found none; "
            "import scans first (brainjepa import)"
        )
    return stores
