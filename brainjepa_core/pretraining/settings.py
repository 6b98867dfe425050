"""Settings of pretraining: model, windows, basis and recipe, and how they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance
from brainjepa_core.models.interface import BrainModel, ModelShape
from brainjepa_core.models.registry import DEFAULT, Family, family_named
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.model_windows import training_windows
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.settings import Frozen, problems_of
from brainjepa_core.signals.people import LeftOut, Person, people_of
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.volume_windows import require_official
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

COORDINATES = 3
PLACED_BY = {"gradient": "gradients", "anatomical": "centroids"}  # positions: kind of basis


class BasisSettings(Frozen):
    """What places ROIs: gradients of the consensus (`brainjepa_core.gradients`), or coordinates.

    Attributes
    ----------
    kind : {"gradients", "centroids"}
        ``centroids`` are the ROIs' centres in millimetres of MNI space, by the atlas.
    components : int
        Of gradients; coordinates are three.
    sparsity : float
        Share of each connectivity row that gradients leave out.
    """

    kind: Literal["gradients", "centroids"] = "gradients"
    components: int = Field(30, ge=1)
    sparsity: float = Field(0.9, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _three_coordinates(cls, told: Any) -> Any:
        if not isinstance(told, dict) or told.get("kind") != "centroids":
            return told
        if told.get("components", COORDINATES) != COORDINATES:
            raise ValueError(
                f"expected no components with kind: centroids, which are {COORDINATES} "
                f"coordinates, found {told['components']}; leave components out"
            )
        return {**told, "components": COORDINATES}


class PretrainingSettings(Frozen):
    """Everything that decides what local pretraining computes, but for the data.

    Attributes
    ----------
    family : str
        Of models (`brainjepa_core.models.registry`).
    preset, recipe : str
        Names that the family knows: Brain-JEPA's are tiny, small, base and large, and default and
        published.
    model : dict
        Fields of the family's settings that differ from the preset's; R, T and m follow from the
        data, the windows and the basis.
    windows : WindowSettings
    basis : BasisSettings
    training : TrainingSettings
    """

    family: str = DEFAULT
    preset: str = "tiny"
    recipe: str = "default"
    model: dict[str, Any] = {}
    windows: WindowSettings = WindowSettings()
    basis: BasisSettings = BasisSettings()
    training: TrainingSettings = TrainingSettings(
        schedule=ScheduleSettings(total_steps=1000, warmup_steps=100)
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> PretrainingSettings:
        derived = sorted({"rois", "frames", "tr", "components", "adapters"} & self.model.keys())
        if derived:
            raise ValueError(
                f"expected a model without {', '.join(derived)}, which follow from the data and "
                "other settings; set windows, basis.components and training.train instead"
            )
        kind = self.model_family.settings.placed_by
        if kind not in (None, self.basis.kind):
            raise ValueError(
                f"expected basis.kind: {kind} with family {self.family}, found "
                f"{self.basis.kind}; change one of the two"
            )
        try:  # now, not when the data has been read
            shape = self.model_settings(rois=1)
        except ValidationError as error:
            raise ValueError(f"model: {problems_of(error)}") from error
        if shape.volumes is not None:
            require_official(self.windows)
        placed = self.model.get("positions", "gradient")
        known = "positions" in self.model_family.settings.model_fields
        if known and placed != "sincos" and PLACED_BY[placed] != self.basis.kind:
            raise ValueError(
                f"expected basis.kind: {PLACED_BY[placed]} with model.positions: {placed}, found "
                f"{self.basis.kind}; change one of the two"
            )
        return self

    @property
    def model_family(self) -> Family:
        """The family by its name."""
        return family_named(self.family)

    def model_settings(self, rois: int) -> ModelShape:
        """Settings of the model for an atlas of `rois` ROIs."""
        adapted, shape = self.training.train == "adapters", self.model_family.settings
        timed = {"tr": self.windows.tr} if "tr" in shape.model_fields else {}
        return shape.preset(
            self.preset,
            rois=rois,
            recipe=self.recipe,
            frames=self.windows.frames,
            components=self.basis.components,
            adapters=self.training.adapter_rank if adapted else 0,
            **timed,
            **self.model,
        )

    def windows_of(self, stores: Sequence[Scans], kept: KeptAligned | None = None) -> Windows:
        """Windows of all people whose scans the study's model can be trained on.

        Parameters
        ----------
        stores : sequence of Scans
        kept : KeptAligned, optional
            Where aligned scans are kept on disk.
        """
        return training_windows(self.model_settings(rois=1), stores, self.windows, kept)

    def people_of(self, stores: Sequence[Scans]) -> tuple[tuple[Person, ...], tuple[LeftOut, ...]]:
        """The people of those windows, and the scans that are left out; reads no series."""
        shape = self.model_settings(rois=1)
        return people_of(stores, self.windows, shape.patch, shape.predicts_rest, shape.volumes)

    def new_model(self, basis: ConsensusBasis) -> BrainModel:
        """A model with random weights, a function of the study's seed."""
        settings = self.model_settings(len(basis.rois))
        return self.model_family.new(settings, basis.gradients, self.training.seed)

    def of_family(self, name: str) -> PretrainingSettings:
        """The same study of another family, with the choices of the model that both know."""
        known = family_named(name).settings.model_fields.keys()
        model = {field: value for field, value in self.model.items() if field in known}
        return self.model_copy(update={"family": name, "model": model})

    def new_training(
        self, basis: ConsensusBasis, device: str = "cpu", computing: Computing = EXACT
    ) -> Training:
        """Training at step 0."""
        return Training(self.new_model(basis), self.training, device, computing=computing)


def provenance(windows: Windows, basis: ConsensusBasis) -> Provenance:
    """What a model trained on these windows and this basis is tied to."""
    return Provenance(
        atlas=windows.atlas.name,
        rois=windows.atlas.rois,
        basis_hash=basis.hash,
        signals=windows.describe(),
    )
