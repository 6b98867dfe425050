"""fMRIPrep derivatives: images in a standard space or CIFTI, with brain mask and confounds.

A scan's companions are found by the entities of their names. ``space: fsLR`` takes CIFTI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.cleaning.confounds import check_columns, read_confounds
from brainjepa_core.signals.cleaning.displacement import mean_displacement
from brainjepa_core.signals.images import cifti
from brainjepa_core.signals.images.alignment import alignment
from brainjepa_core.signals.images.cifti import CiftiLabels, is_cifti, parcellate_cifti
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import NiftiHeader, read_header
from brainjepa_core.signals.images.parcellate import Parcellated, open_mask, parcellate
from brainjepa_core.signals.images.volumes import write_volumes
from brainjepa_core.signals.inputs.bids import (
    VERSIONS,
    BidsFile,
    in_variant,
    repetition_time,
    walk_functional,
    without_copies,
)
from brainjepa_core.signals.inputs.inheritance import Sidecars, nearest_with
from brainjepa_core.signals.inputs.parcellated import header_of
from brainjepa_core.signals.preparation import CleaningSettings, InputSettings
from brainjepa_core.signals.problems import ScanProblem, require_there
from brainjepa_core.signals.scan import FoundScan, Mask, RawScan, ScanHeader, Slice
from brainjepa_core.signals.tables.bids_names import scan_key
from brainjepa_core.volume_grid import VolumeGrid

COMPRESSED, PLAIN = ".nii.gz", ".nii"
VOLUME, SURFACE = (COMPRESSED, PLAIN), (".dtseries.nii",)
FSLR = "fsLR"
CONFOUNDS = ("timeseries", "regressors")  # suffixes, the latter before fMRIPrep 20.2


@dataclass(frozen=True)
class FmriprepScan(FoundScan):
    """One run of an fMRIPrep dataset.

    Attributes
    ----------
    labels : LabelImage or CiftiLabels
    cleaning : CleaningSettings
        Says which confounds are read.
    mask, confounds : Path, optional
    sidecars : tuple of Path
        JSON files that speak of the image, the nearest first.
    mask_needed : bool
        Whether a volume without a mask is a problem.
    told_tr : float, optional
        The site's word on the repetition time in seconds.
    """

    labels: LabelImage | CiftiLabels
    cleaning: CleaningSettings
    mask: Path | None = None
    confounds: Path | None = None
    sidecars: tuple[Path, ...] = ()
    mask_needed: bool = True
    told_tr: float | None = None

    @property
    def image(self) -> Path:
        return self.files[0]

    @property
    def read_whole(self) -> bool:
        """Whether it is a volume that is read without a brain mask, as the settings allow."""
        return not (self.mask_needed or self.mask) and isinstance(self.labels, LabelImage)

    def check(self) -> ScanHeader:
        """Header, repetition time, and whether the companions are there with their columns."""
        header: ScanHeader | NiftiHeader
        if isinstance(self.labels, CiftiLabels):
            header = cifti.read_header(self.image)
        else:
            header = read_header(self.image)
            self._check_mask(header)
        tr = self._tr(header.tr)
        if self.confounds is not None:
            check_columns(self.confounds, self.cleaning)
        elif self.cleaning.preset != "none" or self.cleaning.scrub:
            raise ScanProblem(
                self.image,
                f"a confounds table beside it for cleaning.preset '{self.cleaning.preset}'",
                "none (..._desc-confounds_timeseries.tsv)",
                "copy it there from fMRIPrep's output, or set cleaning.preset: none",
            )
        return header_of(self.image, header.frames, tr)

    def told_fd(self) -> float | None:
        """Of the table of confounds."""
        return None if self.confounds is None else mean_displacement(self.confounds)

    def _check_mask(self, header: NiftiHeader) -> None:
        if self.mask is not None:
            open_mask(self.mask, header)
        elif self.mask_needed:
            raise ScanProblem(
                self.image,
                "its brain mask beside it, of the same space and resolution",
                "none (..._desc-brain_mask.nii.gz)",
                "copy it there from fMRIPrep's output; or set input.mask: optional, and regions "
                "of this scan average voxels that others' do not",
            )

    def _tr(self, header: float) -> float:
        beside = self.image.with_name(self.image.name.split(".")[0] + ".json")
        sidecar = nearest_with("RepetitionTime", self.sidecars, beside)
        return repetition_time(self.image, header, sidecar, self.told_tr)

    def read(self) -> RawScan:
        """Mean signal of each ROI, with what cleaning takes out."""
        tr = self.check().tr
        parts = self._parcellate()
        frames = parts.series.shape[1]
        # nilearn finds the table by the image's name, and knows volumes as .nii.gz only
        named = self.image.with_name(re.sub(r"_bold\.nii$", "_bold.nii.gz", self.image.name))
        confounds = read_confounds(named, self.confounds, self.cleaning, frames)
        cleaning = self.cleaning.model_dump(exclude_none=True)
        return RawScan(
            series=parts.series,
            tr=tr,
            coverage=parts.coverage,
            tsnr=parts.tsnr,
            fd=confounds.fd,
            regressors=confounds.regressors,
            keep=confounds.keep,
            masked=None if isinstance(self.labels, CiftiLabels) else self.mask is not None,
            details={"Cleaning": cleaning, "ConfoundRegressors": list(confounds.names)},
            slices=self._slices(parts),
        )

    def write_volumes(self, grid: VolumeGrid, path: Path, keep: Mask | None, *, drop: bool) -> str:
        """Of the image that ROIs are read from."""
        return write_volumes(self.image, self.mask, grid, path, keep, drop=drop)

    def _slices(self, parts: Parcellated) -> tuple[Slice, ...]:
        if isinstance(self.labels, CiftiLabels):
            return ()
        return alignment(self.image, self.labels, parts.voxel_tsnr)

    def _parcellate(self) -> Parcellated:
        if isinstance(self.labels, CiftiLabels):
            return parcellate_cifti(self.image, self.labels)
        return parcellate(self.image, self.labels, self.mask)


def find(
    settings: InputSettings, atlas: Atlas, cleaning: CleaningSettings
) -> tuple[list[FmriprepScan], list[ScanProblem]]:
    """Runs of a dataset in the space and task asked for, by key, and what keeps others out.

    Raises
    ------
    ScanProblem
        If the label image cannot be used, a problem of every scan.
    ValueError
        If there are images, and none in the space, resolution, density or cohort asked for.
    """
    labels = labels_of(settings, atlas)
    files, problems = walk_functional(settings.folder)
    files = _without_uncompressed(files)
    kind = SURFACE if settings.space == FSLR else VOLUME
    images = [file for file in files if _is_image(file, kind) and _of_task(file, settings.task)]
    whole, echoes = _without_echoes(in_variant(images, settings))
    beside = _Companions(files, settings.folder)
    scans = [_scan(image, beside, settings, labels, cleaning) for image in whole]
    scans.sort(key=lambda scan: (scan.key, scan.image.name))
    single, copies = without_copies(scans, VERSIONS)
    return single, problems + echoes + copies


def labels_of(settings: InputSettings, atlas: Atlas) -> LabelImage | CiftiLabels:
    """The atlas of the settings' label image, checked against the space of the scans.

    Raises
    ------
    ScanProblem
        If it is a volume where scans are surfaces, or the other way round, or cannot be used.
    """
    file = settings.label_image
    assert file is not None
    require_there(file)
    if settings.space == FSLR:
        if not is_cifti(file):
            raise ScanProblem(
                file,
                f"CIFTI labels (.dlabel.nii) for scans of surfaces (input.space {FSLR})",
                "no CIFTI",
                "give the atlas as .dlabel.nii, or say in input.space in which volumes it is",
            )
        surface = CiftiLabels(file, atlas)
        surface.check()
        return surface
    if is_cifti(file):
        raise ScanProblem(
            file,
            f"a volume of labels (.nii.gz) for scans in {settings.space} (input.space)",
            "CIFTI labels of surfaces",
            f"say input.space: {FSLR}, or give the atlas as a volume",
        )
    volume = LabelImage(file, atlas, settings.label_table)
    volume.check(settings.space, settings.cohort)
    return volume


def _without_uncompressed(files: Sequence[BidsFile]) -> list[BidsFile]:
    """Leave out what was uncompressed from an image that is there as fMRIPrep wrote it."""
    there = {file.path for file in files}
    return [
        file
        for file in files
        if file["ext"] != PLAIN or file.path.with_name(f"{file.path.name}.gz") not in there
    ]


def _is_image(file: BidsFile, endings: Sequence[str]) -> bool:
    descriptions = ("preproc",) if endings == VOLUME else ("", "preproc")
    return file["suffix"] == "bold" and file["ext"] in endings and file["desc"] in descriptions


def _of_task(file: BidsFile, task: str | None) -> bool:
    return task is None or file["task"] == task


def _without_echoes(images: Sequence[BidsFile]) -> tuple[list[BidsFile], list[ScanProblem]]:
    """Leave out single echoes: their combination is the scan; a problem where there is none."""
    runs: dict[tuple[str, ...], list[BidsFile]] = {}
    for image in images:
        runs.setdefault(_place(image, "echo"), []).append(image)
    kept, problems = [], []
    for same in runs.values():
        combined = [image for image in same if not image["echo"]]
        if combined or len(same) == 1:
            kept += combined or same
        else:
            problems.append(
                ScanProblem(
                    same[0].path,
                    "the combination of its echoes",
                    f"{len(same)} single ones",
                    "run fMRIPrep on all echoes at once, which combines them",
                )
            )
    return kept, problems


class _Companions:
    """Masks, tables of confounds and sidecars by the scan they belong to."""

    def __init__(self, files: Sequence[BidsFile], root: Path) -> None:
        self.sidecars = Sidecars(root)
        self._confounds = {
            file.key: file.path
            for file in files
            if file["desc"] == "confounds" and file["suffix"] in CONFOUNDS and file["ext"] == ".tsv"
        }
        self._masks = {
            _place(file, "label"): file.path
            for file in files
            if file["suffix"] == "mask" and file["ext"] in VOLUME and _of_brain(file)
        }

    def confounds(self, image: BidsFile) -> Path | None:
        return self._confounds.get(image.key)

    def mask(self, image: BidsFile) -> Path | None:
        return self._masks.get(_place(image, "label"))


def _of_brain(mask: BidsFile) -> bool:
    return "brain" in (mask["desc"], mask["label"])  # as label- in drafts of BIDS derivatives


def _place(file: BidsFile, without: str) -> tuple[str, ...]:
    """Scan and grid of an image or a mask, but for an entity that only one of two has."""
    key = scan_key({name: value for name, value in file.entities.items() if name != without})
    return (*key, file["space"], *(file[version] for version in VERSIONS))


def _scan(
    image: BidsFile,
    beside: _Companions,
    settings: InputSettings,
    labels: LabelImage | CiftiLabels,
    cleaning: CleaningSettings,
) -> FmriprepScan:
    mask, confounds = beside.mask(image), beside.confounds(image)
    sidecars = () if settings.tr else beside.sidecars.of(image)  # the site's word is believed
    files = tuple(path for path in (image.path, mask, confounds, *sidecars) if path is not None)
    return FmriprepScan(
        *image.key,
        files,
        labels,
        cleaning,
        mask=mask,
        confounds=confounds,
        sidecars=sidecars,
        mask_needed=settings.mask == "required",
        told_tr=settings.tr,
    )
