"""A scenario: who takes part, and what they do together."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from brainjepa_core.pretraining.study import LocalStudy
from simulations.cohort import CohortSettings

SCENARIOS = Path(__file__).parent / "scenarios"


class Scenario(BaseModel):
    """A synthetic cohort and the study that is run on it.

    Attributes
    ----------
    cohort : CohortSettings
    study : LocalStudy
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cohort: CohortSettings = CohortSettings()
    study: LocalStudy
