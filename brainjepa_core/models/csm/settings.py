"""Sizes of a CSM, how frames are placed in time, and what a window is read by."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.models.parts.settings import require_heads
from brainjepa_core.models.sizes import NetworkSize

RESOLUTION = 0.2  # seconds, of the table of times


class CsmSettings(ModelShape):
    """What a CSM looks like.

    Attributes
    ----------
    tr : float
        Seconds between frames; that of the windows.
    patch : int
        Frames that share a token where a window is read; the network itself reads every frame.
    width, depth, heads : int
        Of a frame, blocks and heads of attention.
    longest : float, optional
        Seconds that the table of times reaches; by default those of a window.
    places : int, optional
        Rows of the table of places; by default those that a window and the class frame need.
    fewest, most : int
        Frames of a sequence, drawn evenly from ``fewest <= n < most``; one of them is masked.
        Shorter windows give shorter sequences.
    readout : {"mean", "class"}
        What tells of a window: the mean state over its frames, or the pooled state of a class
        frame after the last one, which is trained where a task is.
    """

    presets: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"width": 64, "depth": 2, "heads": 4},
        "base": {"width": 768, "depth": 4, "heads": 12},  # released
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"longest": 300.0, "places": 512, "readout": "class"},
    }

    tr: float = Field(2.0, gt=0)
    width: int = Field(ge=1)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    longest: float | None = Field(None, gt=0)
    places: int | None = Field(None, ge=2)
    fewest: int = Field(10, ge=2)
    most: int = Field(50, ge=3)
    readout: Literal["mean", "class"] = "mean"

    @property
    def still(self) -> bool:
        """Where a class frame tells of the whole window."""
        return self.readout == "class"

    @property
    def rows_of_time(self) -> int:
        """Of the table of times; the class frame has one more."""
        if self.longest is None:
            return self.time_of(self.frames - 1) + 1
        return round(self.longest / RESOLUTION)

    def time_of(self, frame: int) -> int:
        """Row of the table of times for a frame, counted from 0."""
        return round(frame * self.tr / RESOLUTION)

    @property
    def rows_of_places(self) -> int:
        """Of the table of places."""
        return self.frames + 1 if self.places is None else self.places

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """Its blocks, over frames."""
        return (NetworkSize(self.width, self.depth, 4.0, self.frames),)

    @property
    def other_weights(self) -> int:
        """Of both embeddings of frames and the tables."""
        return self.width * (2 * self.rois + self.rows_of_time + self.rows_of_places)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_heads(self.width, self.heads)
        if self.fewest >= self.most:
            raise ValueError(
                f"expected fewest below most, found {self.fewest} and {self.most} frames; "
                "change one of the two"
            )
        if self.time_of(self.frames - 1) >= self.rows_of_time:
            raise ValueError(
                f"expected windows of less than {self.longest} s (model.longest), found "
                f"{self.frames} frames at {self.tr:g} s; shorten windows.frames or raise longest"
            )
        if self.frames >= self.rows_of_places:
            raise ValueError(
                f"expected windows of less than {self.rows_of_places} frames (model.places), found "
                f"{self.frames}; shorten windows.frames or raise places"
            )
        return self
