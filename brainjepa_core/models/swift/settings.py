"""Sizes of a SwiFT, and what of the published code is kept."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from brainjepa_core.settings import Frozen


class SwiftSettings(Frozen):
    """What a SwiFT looks like.

    Attributes
    ----------
    volume : (int, int, int)
        Voxels of a volume on each axis.
    frames, patch : int
        Frames of a sample; voxels that a token is wide.
    width : int
        Channels of a token in the first stage; each later one has twice as many.
    depths, heads : tuple of int
        Blocks, and heads of attention, of each stage.
    window : int
        Tokens that a window is wide in space and time; in the last stage it is all of space.
    hear_padding : bool
        What fills up windows that do not fit counts as tokens, as in the published code; published
        sizes fit. By default nobody attends to it.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"volume": (24, 24, 24), "width": 8, "depths": (2, 2), "heads": (2, 4)},
        "small": {"width": 24},
        "base": {"width": 36},  # the paper's
        "large": {"width": 48},
    }

    volume: tuple[int, int, int] = (96, 96, 96)
    frames: int = Field(20, ge=1)
    patch: int = Field(6, ge=1)
    width: int = Field(36, ge=1)
    depths: tuple[int, ...] = Field((2, 2, 6, 2), min_length=1)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = Field(4, ge=2)
    hear_padding: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.heads) != len(self.depths):
            raise ValueError(
                f"expected heads of {len(self.depths)} stages as depths has, found "
                f"{len(self.heads)}; give a number for each stage"
            )
        unit = self.patch * 2 ** (len(self.depths) - 1)
        if any(size % unit or not size for size in self.volume):
            raise ValueError(
                f"expected a volume of multiples of {unit} voxels (patch, halved between "
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
    def features(self) -> int:
        """Channels of the last stage."""
        return int(self.width * 2 ** (len(self.depths) - 1))

    def grid_of(self, stage: int) -> tuple[int, int, int]:
        """Tokens on each axis of space in a stage, counted from 0."""
        x, y, z = (size // self.patch // 2**stage for size in self.volume)
        return x, y, z
