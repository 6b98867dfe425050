"""People of the tables of `families.py`: ABIDE's twelve hospitals, and a synthetic cohort."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from readouts import windows_of

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

SPLIT = "brainmarks_split"
# Regions of the archives, by how many: Harvard-Oxford's, and with CC200's before them.
REGIONS: dict[str, slice] = {"110": slice(200, 310), "310": slice(None)}
PLACES = "450"  # Brain-JEPA's, whose places are known: a stand-in, by a map of the 310, of rank 301
MAP = "project_450.npz"
COHORT = CohortSettings(sites=3, subjects_per_site=60, rois=24, networks=8, latents=3, frames=150)
MADE_REGIONS = str(COHORT.rois)
STUDY = PretrainingSettings(windows={"frames": 64, "tr": 2.0})


def abide_people(data: Sequence[Path], brainmarks: Path, folder: Path, regions: str) -> Windows:
    """Windows of everybody in some folders of archives, with the part of Brainmarks' split.

    Parameters
    ----------
    data : sequence of Path
        Folders of archives with their ``participants.tsv``.
    brainmarks : Path
        ``ABIDE_curated.csv``.
    folder : Path
        Where they are imported to.
    regions : str
        Of `REGIONS`, or `PLACES`, for which the first folder has a `MAP`.
    """
    with brainmarks.open(newline="") as file:
        parts = {int(row["sub"]): row["split"] for row in csv.DictReader(file)}
    sources = []
    for number, source in enumerate(data):
        copy = folder / "data" / str(number)
        copy.mkdir(parents=True)
        for path in source.glob("*.npz"):
            if regions == PLACES and path.name != MAP:
                _map(path, data[0] / MAP, copy / path.name)
            else:
                (copy / path.name).symlink_to(path)
        with (source / "participants.tsv").open(newline="") as file:
            people = list(csv.DictReader(file, delimiter="\t"))
        with (copy / "participants.tsv").open("w", newline="") as file:
            names = dict.fromkeys([*people[0], SPLIT])
            writer = csv.DictWriter(file, [*names], delimiter="\t", lineterminator="\n")
            writer.writeheader()
            for row in people:
                told = parts.get(int(row["participant_id"].split("_")[-1]), "n/a")
                writer.writerow({**row, SPLIT: told})
        sources.append(copy)
    chosen = slice(None) if regions == PLACES else REGIONS[regions]
    return windows_of(sources, folder, chosen, STUDY)


def _map(archive: Path, regions: Path, copy: Path) -> None:
    """An archive of what a map makes of its people's z-scored ROIs."""
    with np.load(archive) as file, np.load(regions) as mapped:
        arrays, weights, names = dict(file), mapped["W"].astype("f8"), mapped["roi_out"]
    series = np.split(arrays["ts"].astype("f8"), np.cumsum(arrays["lengths"])[:-1])
    z = [(x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), np.inf) for x in series]
    ts = np.concatenate(z) @ weights.T
    np.savez(copy, **{**arrays, "ts": ts.astype("f4"), "roi": names})


def synthetic_people(folder: Path) -> Windows:
    """Windows of three hospitals of sixty, whose traits live in the connectivity."""
    stores = write_cohort(COHORT, folder / "stores")
    return STUDY.windows_of([ScanStore.open(path) for path in stores])
