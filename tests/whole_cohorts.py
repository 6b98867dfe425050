"""All sites of a synthetic cohort side by side, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainjepa_simulations.cohort.cohort import CohortSettings, SiteCohort, generate_site

TINY = CohortSettings(sites=4, subjects_per_site=12, rois=50, networks=5, frames=120)


@dataclass(frozen=True)
class Cohort:
    settings: CohortSettings
    sites: tuple[SiteCohort, ...]

    @cached_property
    def latents(self) -> NDArray[np.float64]:
        """Trait scores of all subjects, site after site [S, L]."""
        return np.concatenate([site.latents for site in self.sites])


def generate_cohort(settings: CohortSettings) -> Cohort:
    return Cohort(settings, tuple(generate_site(settings, i) for i in range(settings.sites)))
