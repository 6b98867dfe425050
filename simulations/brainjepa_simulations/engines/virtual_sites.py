"""Virtual sites on this disk: a store, a state folder and a YAML each, as a hospital would have.

Real sites may be guests: they bring their own store and policy, and take the places of the first
virtual ones. Synthetic hospitals beside them then have as many ROIs as the guests' atlas, under its
names, so that a site can rehearse a study with its own scans before it joins one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas
from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.evaluation.measure import outcome_phenotypes
from brainjepa_core.files import atomic_path
from brainjepa_core.origin import claim_folder, digest
from brainjepa_core.signals.data_origin import data_origin
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.signals.tables.site_archive import read_site_archive
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.scenario import Scenario

SITES, STORES, STATES = "sites", "stores", "site-state"


def make_sites(
    scenario: Scenario, folder: Path, guests: Sequence[SiteSettings] = ()
) -> list[ScanStore]:
    """Write ``FOLDER/sites/<name>.yaml`` for each virtual site, and its store where there is none.

    Sites are in order of their names, which is the order of Flower's partition ids.

    Parameters
    ----------
    scenario : Scenario
    folder : Path
    guests : sequence of SiteSettings
        Sites with a store of their own. Their state goes to FOLDER, not to the sites' own.

    Raises
    ------
    ValueError
        If the data folder holds neither stores nor archives, there are fewer sites than the
        quorum, two of one name, or FOLDER is of other sites, people, scans or
        outcomes.
    """
    sites = {guest.name: guest for guest in guests}
    virtual = _stores(scenario, folder, guests)
    names = [guest.name for guest in guests] + [store.name for store in virtual]
    if len(set(names)) < len(names):
        raise ValueError(
            f"expected sites of different names, found {len(names) - len(set(names))} of a name "
            "that another one has; rename them"
        )
    quorum = scenario.study.rounds.quorum
    if len(names) < quorum:
        raise ValueError(
            f"expected at least {quorum} sites (study.rounds.quorum), found {len(names)} in the "
            "data folder; add sites or lower the quorum"
        )
    unfit = sum(not SITE_NAME.fullmatch(name) for name in names)
    if unfit:
        raise ValueError(
            "expected names of 1 to 40 letters, digits, - and _ for the sites, found others in "
            f"{unfit} of {len(names)}; rename their stores or archives"
        )
    for store in virtual:
        sites[store.name] = SiteSettings(
            name=store.name,
            store=store,
            state=folder / STATES / store.name,
            threads=scenario.threads,
            device=scenario.device,
            computing=scenario.computing,
            policy=scenario.policy,
        )
    stores = {name: ScanStore.open(sites[name].store) for name in sorted(sites)}
    data = {name: _origin(Windows([store])) for name, store in stores.items()}
    claim_folder(folder / SITES, data, ())
    for name in stores:
        _write_site(sites[name], folder)
    return list(stores.values())


def _origin(windows: Windows) -> dict[str, str]:
    """Digests of what a site's rounds and yardstick are made from."""
    return {**data_origin(windows), "phenotypes": digest(outcome_phenotypes(windows))}


def _write_site(site: SiteSettings, folder: Path) -> None:
    settings = {
        **site.model_dump(mode="json", exclude={"prepare"}, exclude_none=True),
        "store": str(site.store.resolve()),
        "state": str((folder / STATES / site.name).resolve()),
    }
    with atomic_path(folder / SITES / f"{site.name}.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))


def _stores(scenario: Scenario, folder: Path, guests: Sequence[SiteSettings]) -> list[Path]:
    """Folders of the virtual sites' stores."""
    if scenario.cohort is not None:
        cohort = scenario.cohort
        if not guests:
            return write_cohort(cohort, folder / STORES)
        atlas = ScanStore.open(guests[0].store).atlas
        cohort = CohortSettings(**{**cohort.model_dump(), "rois": len(atlas)})
        return write_cohort(cohort, folder / STORES, first=len(guests), atlas=atlas)
    assert scenario.data is not None
    return open_data(scenario.data, folder / STORES)


def open_data(data: Path, folder: Path, atlas: Atlas | None = None) -> list[Path]:
    """Stores of a data folder; where it holds site archives, they are imported into FOLDER.

    Parameters
    ----------
    data, folder : Path
    atlas : Atlas, optional
        The order in which archives are imported, if they have just its ROIs; their own by default.

    Raises
    ------
    ValueError
        If there are neither stores nor archives, or an archive has other ROIs.
    """
    stores = sorted(path.parent for path in data.glob(f"*/{HEADER}"))
    participants = data / "participants.tsv"
    for archive in [] if stores else sorted(data.glob("*.npz")):
        if archive.name.startswith("project_"):
            continue  # a projection between atlases, not a site
        store = folder / archive.stem
        if atlas is not None:
            _require_rois(archive, atlas)
        import_site_archive(archive, store, participants if participants.exists() else None, atlas)
        stores.append(store)
    if not stores:
        raise ValueError(
            f"expected scan stores or site archives (.npz) in '{data}', found none; correct the "
            "path, or import scans first (brainjepa import)"
        )
    return stores


def _require_rois(archive: Path, atlas: Atlas) -> None:
    """Refuse an archive of other ROIs, in whatever order."""
    found = read_site_archive(archive).names
    if set(found) != set(atlas.rois):
        raise ValueError(
            f"{archive.name}: expected the {len(atlas)} ROIs of those who train, by name, found "
            f"{len(found)} of which {len(set(found) & set(atlas.rois))} are among them; "
            "parcellate its scans with the same atlas"
        )
