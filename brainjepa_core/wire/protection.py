"""What protects the sites of a study from its coordinator, as a study's settings say it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from brainjepa_core.settings import Frozen

NONE, SECURE_SUM = "none", "secure_sum"


class SecureSumSettings(Frozen):
    """Bounds of what a site adds to a secure sum, where nobody sees a single part of it.

    Attributes
    ----------
    clip : float
        Norm to which a site shortens its own difference of a round: in lengths of one in which
        every weight moves by the learning rate at each step, which AdamW's seldom exceeds.
    largest_share : int
        Scans or people of a site beyond which it counts by no more.
    """

    clip: float = Field(1.0, gt=0)
    largest_share: int = Field(1000, ge=1, le=10_000)


class ProtectSettings(Frozen):
    """What protects sites; written as one word where its defaults do.

    Attributes
    ----------
    secure_sum : SecureSumSettings
        The coordinator gets sums over sites, and of one site nothing.
    """

    secure_sum: SecureSumSettings

    @model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, told: Any) -> Any:
        if told == SECURE_SUM:
            return {SECURE_SUM: {}}
        if isinstance(told, str):
            raise ValueError(f"expected {NONE} or {SECURE_SUM}, found '{told[:40]}'; correct it")
        return told
