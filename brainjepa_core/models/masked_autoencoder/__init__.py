"""Masked autoencoding of signals (BrainLM, Caro et al., ICLR 2024) with a Brain-JEPA's sizes."""

from brainjepa_core.models.masked_autoencoder.model import MaskedAutoencoder
from brainjepa_core.models.masked_autoencoder.settings import MaskedAutoencoderSettings
from brainjepa_core.models.registry import Family

FAMILY = Family("masked_autoencoder", MaskedAutoencoderSettings, MaskedAutoencoder)
