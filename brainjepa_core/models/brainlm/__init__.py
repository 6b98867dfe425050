"""BrainLM (Ortega Caro et al., ICLR 2024): masked autoencoding of patches placed by coordinates."""

from brainjepa_core.models.brainlm.model import BrainLM
from brainjepa_core.models.brainlm.settings import BrainLmSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("brainlm", BrainLmSettings, BrainLM)
