"""A synthetic cohort on disk: one scan store a site, as a hospital would have it."""

from __future__ import annotations

from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site


def write_cohort(
    settings: CohortSettings, folder: str | Path, *, first: int = 0, atlas: Atlas | None = None
) -> list[Path]:
    """Generate a cohort site by site into ``FOLDER/<site>``; sites that are there are completed.

    A folder of fewer people of the same cohort grows to the settings. Sites beyond the settings
    are left alone and are not in the result.

    Parameters
    ----------
    settings : CohortSettings
    folder : path
    first : int
        Sites before this one, counted from 0, are left out.
    atlas : Atlas, optional
        Names for the cohort's ROIs, as many as it has; its own by default.

    Returns
    -------
    list of Path
        One store a site. Phenotypes hold age, sex, diagnosis, ancestry and ``latent_1`` ....

    Raises
    ------
    ValueError
        If a site in the folder has scans of other settings.
    """
    paths = []
    for index in range(first, settings.sites):
        site = generate_site(settings, index)
        named = atlas or Atlas.from_names(site.rois, name="synthetic networks")
        store = ScanStore.create(Path(folder) / site.name, named)
        planned = {(scan.subject, scan.session, "") for scan in site.scans}
        foreign = sum(record.key not in planned for record in store.records)
        if foreign:
            raise ValueError(
                f"expected scans of this cohort only, found {foreign} of another one in the store "
                f"of site {index + 1}; write to another folder"
            )
        people = {subject.name: subject for subject in site.subjects}
        for scan in site.scans:
            person = people[scan.subject]
            latents = {f"latent_{i}": float(v) for i, v in enumerate(person.latents, start=1)}
            store.append(
                scan.series,
                subject=scan.subject,
                session=scan.session,
                tr=site.tr,
                qc={"mean_fd": scan.mean_fd},
                phenotypes={
                    "age": person.age,
                    "sex": person.sex,
                    "diagnosis": person.diagnosis,
                    "ancestry": person.ancestry,
                    **latents,
                },
            )
        paths.append(store.path)
    return paths
