"""A JEPA of people: one window predicts the connectivity of the rest of a person's scans."""

from brainjepa_core.models.person_jepa.model import PersonJEPA
from brainjepa_core.models.person_jepa.settings import PersonJepaSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("person_jepa", PersonJepaSettings, PersonJEPA)
