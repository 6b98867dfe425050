"""Heads on many phenotypes, learned together: what few labels are told by afterwards."""

from brainjepa_core.models.phenotype_heads.model import PhenotypeHeads
from brainjepa_core.models.phenotype_heads.settings import PhenotypeHeadsSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("phenotype_heads", PhenotypeHeadsSettings, PhenotypeHeads)
