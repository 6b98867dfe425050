"""What protects the sites of a study from its coordinator, as a study's settings say it."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from brainjepa_core.settings import Frozen, or_one_word
from brainjepa_core.wire.groups import FEWEST_GROUPS, SMALLEST_GROUP, require_groups

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
    groups : int, optional
        Updates come as so many sums, over groups of sites that are drawn anew each round, and the
        middle of the groups' means is taken: one lying site then moves it little. An odd number
        from three, of twelve sites or more; one sum over all by default.
    """

    model_config = ConfigDict(json_schema_extra=or_one_word)

    secure_sum: SecureSumSettings
    groups: int | None = None

    @field_validator("groups")
    @classmethod
    def _of_enough_sites(cls, groups: int | None) -> int | None:
        """That a median can be; how many sites there are is for those to say who know them."""
        if groups is not None:
            require_groups(groups, SMALLEST_GROUP * max(groups, FEWEST_GROUPS))
        return groups

    @model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, told: Any) -> Any:
        if told == SECURE_SUM:
            return {SECURE_SUM: {}}
        if isinstance(told, str):
            raise ValueError(f"expected {NONE} or {SECURE_SUM}, found '{told[:40]}'; correct it")
        return told
