"""A synthetic site as fMRIPrep would leave it: a BIDS derivative tree of which all is known.

::

    fmriprep/                   the dataset, with participants and phenotypes
      sub-X[/ses-Y]/func/       image, mask, confounds, each with its JSON
    atlas/tpl-..._atlas-Painted_dseg.*  label image, the names of its labels (and a CIFTI dlabel)
    atlas.tsv                   ROIs by name, with network, hemisphere and true centre
    site.yaml                   settings of the site, ready to use

Shapes: R ROIs, F frames.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from pydantic import Field

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_folder
from brainjepa_core.settings import Frozen
from brainjepa_simulations.cohort.cohort import Scan, SiteCohort
from brainjepa_simulations.painting.cifti import Grayordinates
from brainjepa_simulations.painting.confounds import Preset, contaminate, simulate_confounds
from brainjepa_simulations.painting.scans import LabelVolume, Storage, nifti_bytes, paint
from brainjepa_simulations.painting.tables import write_tables

Key = tuple[str, str, str]

DATASET, ATLAS, SITE = "fmriprep", "atlas.tsv", "site.yaml"
LABELS = "atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg"
SPACE, SURFACES = "space-MNI152NLin2009cAsym", "space-fsLR_den-91k"
TASK = "rest"
BASELINE, UNIT = 1000.0, 10.0  # a standard deviation of the cohort's series is 1 % of the image


class PaintSettings(Frozen):
    """How scans are painted.

    Attributes
    ----------
    seed : int
        Of everything that the scans' series do not say.
    storage : {"int16", "float32"}
        Numbers in image files.
    runs : int
        Each scan is cut into this many runs; with one, names have no ``run``.
    contamination : {"simple_motion", "motion24_acompcor", "motion36"}, optional
        Mix the confounds of this cleaning preset into the series; that cleaning, without
        band-pass or censoring, gives `PaintedScan.clean`.
    strength : float
        Standard deviation of one confound in an ROI, in those of the ROI.
    dummies : int
        Frames at the start of each run that are marked as non-steady state.
    cifti : int
        The first so many scans are also painted as CIFTI.
    """

    seed: int = Field(0, ge=0)
    storage: Storage = "int16"
    runs: int = Field(1, ge=1)
    contamination: Preset | None = None
    strength: float = Field(0.3, ge=0)
    dummies: int = Field(0, ge=0)
    cifti: int = Field(0, ge=0)


@dataclass(frozen=True)
class PaintedScan:
    """One run, and what is true of it.

    Attributes
    ----------
    subject, session, run : str
        ``sub-X``, ``Y`` or empty, ``task-rest[_run-N]``.
    stem : Path
        What all file names of the run begin with.
    tr, mean_fd : float
        Seconds; mm, over all frames but the first.
    truth : ndarray of float64 [R, F]
        ROI means of the image file's values; NaN for an ROI outside the field of view.
    clean : ndarray of float64 [R, F]
        The series without confounds, before rounding; where none were mixed in, the series.
    cifti_truth : ndarray of float64 [R, F], optional
        ROI means of the CIFTI file, where there is one.
    """

    subject: str
    session: str
    run: str
    stem: Path
    tr: float
    mean_fd: float
    truth: Float64
    clean: Float64
    cifti_truth: Float64 | None = None

    @property
    def key(self) -> Key:
        """Subject, session and run, as a store names them."""
        return self.subject, self.session, self.run

    @property
    def bold(self) -> Path:
        return self.file(f"{SPACE}_desc-preproc_bold.nii.gz")

    @property
    def sidecar(self) -> Path:
        return self.file(f"{SPACE}_desc-preproc_bold.json")

    @property
    def mask(self) -> Path:
        return self.file(f"{SPACE}_desc-brain_mask.nii.gz")

    @property
    def confounds(self) -> Path:
        return self.file("desc-confounds_timeseries.tsv")

    @property
    def cifti(self) -> Path:
        return self.file(f"{SURFACES}_bold.dtseries.nii")

    def file(self, ending: str) -> Path:
        """The run's file of this ending."""
        return self.stem.with_name(f"{self.stem.name}_{ending}")


@dataclass(frozen=True)
class PaintedTree:
    """A painted site on disk.

    Attributes
    ----------
    folder : Path
    volume : LabelVolume
        ROIs, their labels and their true centres.
    scans : dict of (subject, session, run) to PaintedScan
        In the order of the site's scans.
    """

    folder: Path
    volume: LabelVolume
    scans: dict[Key, PaintedScan]

    @property
    def dataset(self) -> Path:
        return self.folder / DATASET

    @property
    def participants(self) -> Path:
        return self.dataset / "participants.tsv"

    @property
    def label_image(self) -> Path:
        return self.folder / f"{LABELS}.nii.gz"

    @property
    def label_table(self) -> Path:
        return self.folder / f"{LABELS}.tsv"

    @property
    def cifti_labels(self) -> Path:
        return self.folder / f"{LABELS}.dlabel.nii"

    @property
    def atlas_table(self) -> Path:
        return self.folder / ATLAS

    @property
    def site(self) -> Path:
        return self.folder / SITE

    @property
    def truth(self) -> dict[Key, Float64]:
        """Series [R, F] of every run, as the image files hold them."""
        return {key: scan.truth for key, scan in self.scans.items()}


def write_tree(
    folder: str | Path,
    site: SiteCohort,
    settings: PaintSettings | None = None,
    atlas: Atlas | None = None,
) -> PaintedTree:
    """Paint a site's scans as a derivative tree; all of it appears at once, or nothing.

    Parameters
    ----------
    folder : path
        A new folder; paths in its ``site.yaml`` start there.
    site : SiteCohort
        A scan without a session gets no session folder.
    settings : PaintSettings, optional
    atlas : Atlas, optional
        Names for the site's ROIs, as many as it has; its own by default.

    Returns
    -------
    PaintedTree

    Raises
    ------
    FileExistsError
        If the folder exists.
    ValueError
        If the atlas has more or fewer ROIs than the site, or runs are too short.
    """
    folder, settings = Path(folder), settings or PaintSettings()
    volume = LabelVolume.of(atlas or Atlas.from_names(site.rois, "synthetic networks"))
    if len(volume.atlas) != len(site.rois):
        raise ValueError(
            f"expected an atlas of as many ROIs as the site's {len(site.rois)}, found "
            f"'{volume.atlas.name}' of {len(volume.atlas)}; generate the site with as many"
        )
    grayordinates = Grayordinates.of(volume.atlas) if settings.cifti else None
    with atomic_folder(folder) as root:
        write_tables(root / DATASET, site)
        _write_atlas(root, volume, grayordinates)
        (root / SITE).write_text(_site_yaml(site.name), encoding="utf-8")
        scans = {}
        for number, scan in enumerate(site.scans):
            surfaces = grayordinates if number < settings.cifti else None
            for run, part in _runs(scan, settings.runs):
                painted = _write_run(root, part, run, site.tr, volume, surfaces, settings)
                painted = replace(painted, stem=folder / painted.stem.relative_to(root))
                scans[painted.key] = painted
    return PaintedTree(folder, volume, scans)


def _runs(scan: Scan, count: int) -> Iterator[tuple[str, Scan]]:
    """The scan cut into runs of equal length, under the names the store will know them by."""
    frames = scan.series.shape[1] // count
    if frames < 8:
        raise ValueError(
            f"expected runs of at least 8 frames, found {scan.series.shape[1]} frames for "
            f"{count} runs; ask for fewer runs"
        )
    for i in range(count):
        name = f"task-{TASK}" if count == 1 else f"task-{TASK}_run-{i + 1}"
        yield name, replace(scan, series=scan.series[:, i * frames : (i + 1) * frames])


def _write_run(
    root: Path,
    scan: Scan,
    run: str,
    tr: float,
    volume: LabelVolume,
    grayordinates: Grayordinates | None,
    settings: PaintSettings,
) -> PaintedScan:
    """Paint one run; what is drawn for it depends on its name alone, not on other scans."""
    session = f"ses-{scan.session}" if scan.session else ""
    parts = [part for part in (scan.subject, session, run) if part]
    stem = root.joinpath(DATASET, scan.subject, session, "func", "_".join(parts))
    stem.parent.mkdir(parents=True, exist_ok=True)
    name = zlib.crc32(stem.name.encode())
    motion, mixing, voxels, surface = (
        np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(name, what)))
        for what in range(4)
    )
    series = clean = BASELINE + UNIT * scan.series.astype(np.float64)
    frames = series.shape[1]
    confounds = simulate_confounds(frames, tr, scan.mean_fd, motion, dummies=settings.dummies)
    if settings.contamination:
        regressors = confounds.regressors(settings.contamination)
        series, clean = contaminate(series, regressors, settings.strength, mixing)
    painting = paint(series, volume, voxels, storage=settings.storage)
    painted = PaintedScan(
        scan.subject, scan.session, run, stem, tr, scan.mean_fd, painting.truth, clean
    )
    painted.bold.write_bytes(nifti_bytes(painting.image(tr)))
    painted.mask.write_bytes(nifti_bytes(volume.mask_image(painting.brain)))
    painted.confounds.write_text(confounds.tsv(), encoding="utf-8")
    painted.confounds.with_suffix(".json").write_text(confounds.json(), encoding="utf-8")
    facts = {"RepetitionTime": tr, "SkullStripped": False, "TaskName": TASK}
    _write_json(painted.sidecar, facts)
    if grayordinates is None:
        return painted
    image, truth = grayordinates.paint(series, tr, surface)
    painted.cifti.write_bytes(image.to_bytes())
    _write_json(painted.file(f"{SURFACES}_bold.json"), facts)
    return replace(painted, cifti_truth=truth)


def _write_atlas(root: Path, volume: LabelVolume, grayordinates: Grayordinates | None) -> None:
    """Label image and names of its labels, CIFTI labels, and the table of ROIs."""
    labels = root / LABELS
    labels.parent.mkdir()
    atlas = volume.atlas
    labels.with_suffix(".nii.gz").write_bytes(nifti_bytes(volume.image()))
    names = [f"{n}\t{roi}" for n, roi in zip(volume.numbers, atlas.rois, strict=True)]
    labels.with_suffix(".tsv").write_text("\n".join(["index\tname", *names, ""]), encoding="utf-8")
    if grayordinates is not None:
        labels.with_suffix(".dlabel.nii").write_bytes(grayordinates.label_image().to_bytes())
    centres = atlas.centroids or ()
    rows = [
        "\t".join([roi, network, side, *map(str, centre)])
        for roi, network, side, centre in zip(
            atlas.rois, atlas.networks, atlas.hemispheres, centres, strict=True
        )
    ]
    table = "\n".join(["name\tnetwork\themisphere\tx\ty\tz", *rows, ""])
    (root / ATLAS).write_text(table, encoding="utf-8")


def _site_yaml(name: str) -> str:
    settings = {
        "name": name,
        "store": "store",
        "state": "state",
        "policy": {"min_subjects": 20},
        "prepare": {
            "input": {
                "kind": "fmriprep",
                "folder": DATASET,
                "label_image": f"{LABELS}.nii.gz",
                "task": TASK,
            },
            "atlas": ATLAS,
        },
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return (
        f"# A site of painted scans (brainjepa paint); paths start at this file's folder.\n{text}"
    )


def _write_json(path: Path, facts: dict[str, object]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
