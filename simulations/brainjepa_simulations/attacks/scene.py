"""Whom the attacks are on: sites of made-up people, as a scenario has them.

A person of a cohort is a function of seed, site and number (`cohort.cohort`), so that the same site
with more people has those who take part, and others of the same population who do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.scenario import Scenario

PEOPLE = 40  # of a site that is attacked, at most: enough for every floor


@dataclass(frozen=True)
class Scene:
    """Where attacks take place.

    Attributes
    ----------
    scenario : Scenario
        Of a synthetic cohort.
    folder : Path
        For stores and states.

    Raises
    ------
    ValueError
        If the scenario's people are not made up.
    """

    scenario: Scenario
    folder: Path

    def __post_init__(self) -> None:
        if self.scenario.cohort is None:
            raise ValueError(
                "expected a scenario with a cohort, since attacks are judged by what is known of "
                "made-up people, found one with data; take another scenario"
            )

    @property
    def study(self) -> PretrainingSettings:
        return self.scenario.study.pretraining

    @property
    def cohort(self) -> CohortSettings:
        assert self.scenario.cohort is not None
        return self.scenario.cohort

    def stores(self, name: str, sites: int, people: int, **changes: Any) -> list[ScanStore]:
        """Sites of so many people each, made when they are first asked for.

        Parameters
        ----------
        name : str
            Of the folder.
        sites, people : int
        **changes
            Other fields of the cohort.
        """
        told: Mapping[str, Any] = {
            **self.cohort.model_dump(), "sites": sites, "subjects_per_site": people, **changes,
        }  # fmt: skip
        settings = CohortSettings.model_validate(told)
        return [ScanStore.open(path) for path in write_cohort(settings, self.folder / name)]

    @cached_property
    def victim(self) -> ScanStore:
        """The scenario's first site, of forty people."""
        return self.stores("victim", 1, PEOPLE)[0]
