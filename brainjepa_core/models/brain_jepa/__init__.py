"""Brain-JEPA (Dong et al., NeurIPS 2024, arXiv 2409.19407): predict latents of masked patches."""

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import read_published, write_official
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.registry import Family

FAMILY = Family(
    "brain_jepa",
    BrainJepaSettings,
    BrainJEPA,
    read_published=read_published,
    write_published=write_official,
)
