"""BrainMass (Yang et al., IEEE TMI 2024, arXiv 2403.01433): rows of connectivity as tokens."""

from brainjepa_core.models.brainmass.model import BrainMass
from brainjepa_core.models.brainmass.settings import BrainMassSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("brainmass", BrainMassSettings, BrainMass)
