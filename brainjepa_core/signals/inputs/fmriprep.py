"""fMRIPrep derivatives: images in a standard space or CIFTI, with brain mask and confounds.

A scan's companions are found by the entities of their names. ``space: fsLR`` takes CIFTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.cleaning.confounds import check_columns, read_confounds
from brainjepa_core.signals.cleaning.displacement import mean_displacement
from brainjepa_core.signals.images import cifti
from brainjepa_core.signals.images.cifti import CiftiLabels, parcellate_cifti
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import NiftiHeader, read_header
from brainjepa_core.signals.images.parcellate import Parcellated, open_mask, parcellate
from brainjepa_core.signals.inputs.bids import (
    BidsFile,
    repetition_time,
    walk_functional,
    without_copies,
)
from brainjepa_core.signals.inputs.parcellated import header_of
from brainjepa_core.signals.preparation import CleaningSettings, InputSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader

VOLUME, SURFACE = ".nii.gz", ".dtseries.nii"
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
    told_tr : float, optional
        The site's word on the repetition time in seconds.
    """

    labels: LabelImage | CiftiLabels
    cleaning: CleaningSettings
    mask: Path | None = None
    confounds: Path | None = None
    told_tr: float | None = None

    @property
    def image(self) -> Path:
        return self.files[0]

    @property
    def sidecar(self) -> Path:
        return self.image.with_name(self.image.name.split(".")[0] + ".json")

    def check(self) -> ScanHeader:
        """Header, repetition time, and whether the companions are there with their columns."""
        header: ScanHeader | NiftiHeader
        if isinstance(self.labels, CiftiLabels):
            header = cifti.read_header(self.image)
        else:
            header = read_header(self.image)
            if self.mask is not None:
                open_mask(self.mask, header)
        tr = repetition_time(self.image, header.tr, self.sidecar, self.told_tr)
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

    def read(self) -> RawScan:
        """Mean signal of each ROI, with what cleaning takes out."""
        tr = self.check().tr
        parts = self._parcellate()
        frames = parts.series.shape[1]
        confounds = read_confounds(self.image, self.confounds, self.cleaning, frames)
        cleaning = self.cleaning.model_dump(exclude_none=True)
        return RawScan(
            series=parts.series,
            tr=tr,
            coverage=parts.coverage,
            tsnr=parts.tsnr,
            fd=confounds.fd,
            regressors=confounds.regressors,
            keep=None if confounds.keep.all() else confounds.keep,
            details={"Cleaning": cleaning, "ConfoundRegressors": list(confounds.names)},
        )

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
    """
    assert settings.label_image is not None
    labels = labels_of(settings, atlas)
    files, problems = walk_functional(settings.folder)
    kind = SURFACE if settings.space == FSLR else VOLUME
    images = [file for file in files if _is_image(file, kind) and _of_task(file, settings.task)]
    chosen = [image for image in images if image["space"] == settings.space]
    if images and not chosen:
        spaces = ", ".join(sorted({image["space"] or "native" for image in images}))
        raise ValueError(
            f"expected images in space {settings.space} (input.space), found only {spaces}; "
            "choose one of these, with the atlas in it"
        )
    beside = _Companions(files)
    scans = [_scan(image, beside, settings, labels, cleaning) for image in chosen]
    single, copies = without_copies(sorted(scans, key=lambda scan: (scan.key, scan.image.name)))
    return single, problems + copies


def labels_of(settings: InputSettings, atlas: Atlas) -> LabelImage | CiftiLabels:
    """The atlas of the settings' label image, checked against the space of the scans."""
    assert settings.label_image is not None
    if settings.label_image.name.endswith(".dlabel.nii"):
        surface = CiftiLabels(settings.label_image, atlas)
        surface.check()
        return surface
    volume = LabelImage(settings.label_image, atlas, settings.label_table)
    volume.check(settings.space)
    return volume


def _is_image(file: BidsFile, kind: str) -> bool:
    preprocessed = file["desc"] == "preproc" if kind == VOLUME else file["desc"] in ("", "preproc")
    return file["suffix"] == "bold" and file["ext"] == kind and preprocessed


def _of_task(file: BidsFile, task: str | None) -> bool:
    return task is None or file["task"] == task


class _Companions:
    """Masks and tables of confounds by the scan they belong to."""

    def __init__(self, files: Sequence[BidsFile]) -> None:
        self._confounds = {
            file.key: file.path
            for file in files
            if file["desc"] == "confounds" and file["suffix"] in CONFOUNDS and file["ext"] == ".tsv"
        }
        self._masks = {
            (*file.key, file["space"], file["res"]): file.path
            for file in files
            if file["desc"] == "brain" and file["suffix"] == "mask" and file["ext"] == VOLUME
        }

    def confounds(self, image: BidsFile) -> Path | None:
        return self._confounds.get(image.key)

    def mask(self, image: BidsFile) -> Path | None:
        return self._masks.get((*image.key, image["space"], image["res"]))


def _scan(
    image: BidsFile,
    beside: _Companions,
    settings: InputSettings,
    labels: LabelImage | CiftiLabels,
    cleaning: CleaningSettings,
) -> FmriprepScan:
    mask, confounds = beside.mask(image), beside.confounds(image)
    files = tuple(path for path in (image.path, mask, confounds) if path is not None)
    return FmriprepScan(*image.key, files, labels, cleaning, mask, confounds, settings.tr)
