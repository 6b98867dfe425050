"""Sizes of a SwiFT, and what of the published code is kept."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes, Phenotype
from brainjepa_core.models.sizes import NetworkSize
from brainjepa_core.volume_grid import VolumeGrid, VolumesRead

SEEN = 4  # times that the network is run for a person: two windows, each in two augmentations


class SwiftSettings(LearnsPhenotypes):
    """What a SwiFT looks like, and what it learns.

    Attributes
    ----------
    frames : int
        Of a window.
    patch : int
        Frames that share a token where a window is read by ROI; the network keeps all of them.
    volume : (int, int, int)
        Voxels of a volume on each axis, as stores have them (``prepare.volumes``).
    mm : float
        Width of a voxel.
    cube : int
        Voxels that a token of the network is wide.
    width : int
        Channels of a token in the first stage; each later one has twice as many.
    depths, heads : tuple of int
        Blocks, and heads of attention, of each stage.
    window : int
        Tokens that a window is wide in space and time; in the last stage it is all of space.
    hear_padding : bool
        What fills up windows that do not fit counts as tokens, as in the published code; published
        sizes fit. By default nobody attends to it.
    projection : int
        Width of the vectors that the contrast compares.
    norm : {"layer", "batch"}
        Of these vectors; ``batch`` is published.
    phenotypes : tuple of Phenotype
        Learned by one linear map of the mean feature, in place of the contrast; by default none.
    """

    placed_by = "centroids"

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {
            "volume": (24, 24, 24),
            "mm": 8.0,
            "width": 8,
            "depths": (2, 2),
            "heads": (2, 4),
        },
        "small": {"width": 24},
        "base": {"width": 36},  # the paper's
        "large": {"width": 48},
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"norm": "batch", "hear_padding": True},
    }

    frames: int = Field(20, ge=1)
    patch: int = Field(1, ge=1)
    components: int = Field(3, ge=3, le=3)
    volume: tuple[int, int, int] = (96, 96, 96)
    mm: float = Field(2.0, gt=0)
    cube: int = Field(6, ge=1)
    width: int = Field(36, ge=1)
    depths: tuple[int, ...] = Field((2, 2, 6, 2), min_length=1)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = Field(4, ge=2)
    hear_padding: bool = False
    projection: int = Field(128, ge=1)
    norm: Literal["layer", "batch"] = "layer"
    phenotypes: tuple[Phenotype, ...] = Field((), max_length=256)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.heads) != len(self.depths):
            raise ValueError(
                f"expected heads of {len(self.depths)} stages as depths has, found "
                f"{len(self.heads)}; give a number for each stage"
            )
        unit = self.cube * 2 ** (len(self.depths) - 1)
        if any(size % unit or not size for size in self.volume):
            raise ValueError(
                f"expected a volume of multiples of {unit} voxels (cube, halved between "
                f"{len(self.depths)} stages), found {list(self.volume)}; crop or pad volumes"
            )
        for number, heads in enumerate(self.heads):
            if self.width * 2**number % heads:
                raise ValueError(
                    f"expected heads that divide {self.width * 2**number} channels of stage "
                    f"{number + 1}, found {heads}; change width or heads"
                )
        return self

    @property
    def volumes(self) -> VolumesRead:
        """Two windows of a scan where they are compared."""
        return VolumesRead(VolumeGrid(self.volume, self.mm), 1 if self.phenotypes else 2)

    @property
    def mixes_people(self) -> bool:
        """Where a person is told from those of a micro-batch."""
        return not self.phenotypes

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """A stage each, over all its passes."""
        passes = 1 if self.phenotypes else SEEN
        return tuple(
            NetworkSize(
                self.width * 2**stage, depth, 4.0, passes * self.frames * prod(self.grid_of(stage))
            )
            for stage, depth in enumerate(self.depths)
        )

    @property
    def other_weights(self) -> int:
        """Of the first map, positions, merging and head."""
        wide = [self.width * 2**stage for stage in range(len(self.depths))]
        placed = sum(
            channels * (prod(self.grid_of(stage)) + self.frames)
            for stage, channels in enumerate(wide)
        )
        merged = sum(16 * channels**2 for channels in wide[:-1])
        outputs = len(self.phenotypes) or self.projection
        return int(self.cube**3 * self.width + placed + merged + self.features * outputs)

    @property
    def other_kept(self) -> int:
        """Volumes of a person, and what augmenting them takes."""
        return 3 * SEEN * self.frames * prod(self.volume)

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return int(self.width * 2 ** (len(self.depths) - 1))

    def grid_of(self, stage: int) -> tuple[int, int, int]:
        """Tokens on each axis of space in a stage, counted from 0."""
        x, y, z = (size // self.cube // 2**stage for size in self.volume)
        return x, y, z
