"""How a site turns what it has into a store: one frozen model, written beside the store it made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from brainjepa_core.atlas import DEFAULT_ATLAS
from brainjepa_core.files import require_outside
from brainjepa_core.settings import FilePath, Frozen, from_its_file, or_yes_or_no
from brainjepa_core.signals.problems import is_there
from brainjepa_core.usable import require_seconds
from brainjepa_core.volume_grid import VolumeGrid

Kind = Literal["fmriprep", "hcp", "xcpd", "ukb", "series", "archive"]
# YAML reads 2 as a number.
Label = Annotated[
    str, Field(coerce_numbers_to_str=True, json_schema_extra={"type": ["string", "number"]})
]

SURFACES = "fsLR"  # a space without volumes
Voxels = Annotated[int, Field(ge=1)]


class InputSettings(Frozen):
    """Where the scans are, and in which form.

    Attributes
    ----------
    kind : {"fmriprep", "hcp", "xcpd", "ukb", "series", "archive"}
        fMRIPrep derivatives; HCP-style folders of CIFTI; XCP-D derivatives; UK Biobank tables;
        a folder of parcellated scans with a list of names; a site archive (npz).
    folder : Path
        Root of the dataset; for ``archive``, the file.
    space : str
        BIDS ``space`` of the images taken; ``fsLR`` takes CIFTI.
    res, den, cohort : str, optional
        BIDS ``res`` (resolution), ``den`` (density of a surface) and ``cohort`` (of a template),
        where a scan is there in several; ``native`` is a name without it.
    task : str, optional
        BIDS ``task``; all by default.
    mask : {"required", "optional"}
        For ``fmriprep``: whether a volume without its brain mask is a problem, or read whole.
    label_image : Path, optional
        NIfTI label image or CIFTI ``dlabel`` of the atlas, for inputs that are images. Without
        it, ``hcp`` takes series of named parcels (``ptseries``).
    label_table : Path, optional
        Names of its labels (TSV with ``index`` and ``name``, or Connectome Workbench's label
        list); by default the TSV of the same name beside it, if there is one.
    names : Path, optional
        For ``series``: ROI names, one a line, in the order of columns.
    time : {"rows", "columns"}, optional
        For ``series``: what the frames are, where a file has as many frames as ROIs and no names.
    tr : float, optional
        Seconds; needed where no file says it, and believed over headers where they contradict
        one another.
    """

    kind: Kind
    folder: FilePath
    space: str = "MNI152NLin2009cAsym"
    res: Label | None = None
    den: Label | None = None
    cohort: Label | None = None
    task: str | None = None
    mask: Literal["required", "optional"] = "required"
    label_image: FilePath | None = None
    label_table: FilePath | None = None
    names: FilePath | None = None
    time: Literal["rows", "columns"] | None = None
    tr: float | None = Field(None, gt=0)

    @field_validator("folder", "label_image", "label_table", "names")
    @classmethod
    def _there(cls, path: Path | None) -> Path | None:
        if path is not None and not is_there(path):
            raise ValueError(
                f"expected a file or folder, found no '{path}'; correct the path, which starts at "
                "the YAML's folder"
            )
        return path

    @field_validator("folder")
    @classmethod
    def _a_folder(cls, path: Path, info: ValidationInfo) -> Path:
        if info.data.get("kind", "archive") != "archive" and path.is_file():
            raise ValueError(
                f"expected a folder for input of kind '{info.data['kind']}', found the file "
                f"'{path}'; give the folder that holds it, or correct input.kind"
            )
        return path

    @field_validator("space")
    @classmethod
    def _one_entity(cls, space: str) -> str:
        """Without the modifiers of fMRIPrep's call (``MNI152NLin6Asym:res-2``)."""
        if ":" in space or "_" in space:
            raise ValueError(
                f"expected a space as file names have it after 'space-', found '{space}'; say "
                "what is beside it as res, den or cohort"
            )
        return space

    @field_validator("tr")
    @classmethod
    def _in_seconds(cls, tr: float | None) -> float | None:
        return None if tr is None else require_seconds(tr)

    @model_validator(mode="after")
    def _complete(self) -> InputSettings:
        if self.kind == "fmriprep" and self.label_image is None:
            raise ValueError(
                "expected a label_image for input of kind 'fmriprep', found none; give the atlas "
                "as a NIfTI label image in the scans' space, or as a CIFTI dlabel"
            )
        if self.kind == "series" and self.names is None:
            raise ValueError(
                "expected names for input of kind 'series', found none; give a text file with one "
                "ROI name a line, in the order of columns"
            )
        return self


class CleaningSettings(Frozen):
    """What is regressed out of the ROI signals, and what becomes of moved frames.

    Attributes
    ----------
    preset : {"none", "simple_motion", "motion24_acompcor", "motion36"}
        Nothing; six motion parameters; those with derivatives and squares and five aCompCor
        components a tissue (24P + aCompCor); those with white matter, CSF and global signal,
        their derivatives and squares (36P). Confounds are nilearn's
        (`nilearn.interfaces.fmriprep.load_confounds`), drift terms of fMRIPrep included.
    scrub : bool
        Censor frames of more than `fd_threshold` or `dvars_threshold`.
    censored : {"interpolate", "drop"}
        Keep the length and draw a line through censored frames, or leave them out: time is no
        longer contiguous then, and the record says how many are gone.
    fd_threshold : float
        mm.
    dvars_threshold : float
        Standardised DVARS.
    low_pass, high_pass : float, optional
        Hz; no band-pass by default.
    """

    preset: Literal["none", "simple_motion", "motion24_acompcor", "motion36"] = "simple_motion"
    scrub: bool = False
    censored: Literal["interpolate", "drop"] = "interpolate"
    fd_threshold: float = Field(0.5, gt=0)
    dvars_threshold: float = Field(1.5, gt=0)
    low_pass: float | None = Field(None, gt=0)
    high_pass: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _band(self) -> CleaningSettings:
        if self.low_pass and self.high_pass and self.high_pass >= self.low_pass:
            raise ValueError(
                f"expected high_pass below low_pass, found {self.high_pass:g} and "
                f"{self.low_pass:g} Hz; exchange them"
            )
        return self


class ExclusionSettings(Frozen):
    """Scans that stay out of the store, each with its reason in the group table.

    Attributes
    ----------
    mean_fd : float, optional
        Most mean framewise displacement in mm.
    censored : float, optional
        Largest share of censored frames.
    missing_rois : float, optional
        Largest share of ROIs that are missing or without a signal.
    tsnr : float, optional
        Least temporal signal-to-noise ratio.
    seconds : float, optional
        Least length; shorter scans are padded in training where this is not set.
    wrong_order : bool
        Leave out scans whose ROI rows appear to be in another order than the atlas'.
    """

    mean_fd: float | None = Field(0.5, gt=0)
    censored: float | None = Field(0.5, ge=0, le=1)
    missing_rois: float | None = Field(0.2, ge=0, le=1)
    tsnr: float | None = Field(None, gt=0)
    seconds: float | None = Field(None, gt=0)
    wrong_order: bool = True


class VolumeSettings(Frozen):
    """Volumes that are kept beside the series of ROIs, one a frame, on a grid that sites share.

    Attributes
    ----------
    size : (int, int, int)
        Voxels to the left, to the front and up, about the middle of the brain in MNI space.
    mm : float
        Width of a voxel.
    """

    model_config = ConfigDict(json_schema_extra=or_yes_or_no)

    size: tuple[Voxels, Voxels, Voxels] = (96, 96, 96)
    mm: float = Field(2.0, gt=0)

    @property
    def grid(self) -> VolumeGrid:
        """Where their voxels lie."""
        return VolumeGrid(self.size, self.mm)


def _yes_or_no(told: Any) -> Any:
    """What stands for the fields: true for all by default, false for no volumes."""
    return {True: {}, False: None}[told] if isinstance(told, bool) else told


class PreparationSettings(Frozen):
    """From a site's files to its store.

    Attributes
    ----------
    input : InputSettings
    atlas : str
        Shipped name, or a TSV of ROI names (see `brainjepa_core.atlas.load_atlas`).
    cleaning : CleaningSettings
        Of images with confounds; parcellated inputs are cleaned already.
    exclude : ExclusionSettings
    phenotypes : tuple of Path
        ``participants.tsv``, and tables of a ``phenotype`` folder with their JSON; by default
        those of the input folder.
    missing : tuple of float or str
        What stands for "not known" in those tables beside n/a and the like: ``[-9999]``.
    quality : Path, optional
        Folder of tables and pages; by default the store's name with ``-quality``.
    derivatives : Path, optional
        Also write the series there as BIDS derivatives.
    volumes : VolumeSettings, optional
        Also keep the scans' volumes in the store, for models that read them; ``true`` for the
        published grid. For ``fmriprep`` in a volume's space only.
    processes : int, optional
        Scans worked on at once; by default one a core.
    """

    input: InputSettings
    atlas: str = DEFAULT_ATLAS
    cleaning: CleaningSettings = CleaningSettings()
    exclude: ExclusionSettings = ExclusionSettings()
    phenotypes: tuple[FilePath, ...] = ()
    missing: tuple[float | str, ...] = ()
    quality: FilePath | None = None
    derivatives: FilePath | None = None
    volumes: Annotated[VolumeSettings | None, BeforeValidator(_yes_or_no)] = None
    processes: int | None = Field(None, ge=1)

    @field_validator("quality", "derivatives")
    @classmethod
    def _outside_the_scans(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and "input" in info.data:
            require_outside(path, info.data["input"].folder)
        return path

    @field_validator("phenotypes")
    @classmethod
    def _there(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        gone = next((path for path in paths if not is_there(path)), None)
        if gone is not None:
            raise ValueError(
                f"expected tables of phenotypes, found no '{gone}'; correct the path, which starts "
                "at the YAML's folder"
            )
        return paths

    @field_validator("volumes")
    @classmethod
    def _of_images(
        cls, volumes: VolumeSettings | None, info: ValidationInfo
    ) -> VolumeSettings | None:
        given = info.data.get("input")
        if volumes is None or given is None:
            return volumes
        if given.kind != "fmriprep" or given.space == SURFACES:
            found = f"space {SURFACES}" if given.kind == "fmriprep" else f"kind '{given.kind}'"
            raise ValueError(
                "expected input of kind 'fmriprep' in a volume's space, such as "
                f"MNI152NLin2009cAsym, with volumes, found {found}; take volumes out, or give "
                "such images"
            )
        return volumes

    @field_validator("atlas")
    @classmethod
    def _table_from_its_file(cls, atlas: str, info: ValidationInfo) -> str:
        return str(from_its_file(Path(atlas), info)) if atlas.endswith(".tsv") else atlas
