"""CSM (Thomas, Re, Poldrack, NeurIPS 2022, arXiv 2206.11417): causal modelling of frames."""

from brainjepa_core.models.csm.model import CSM
from brainjepa_core.models.csm.settings import CsmSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("csm", CsmSettings, CSM)
