"""The released BrainLM of 111 and 650 million weights: a ViT-MAE over pictures of a window."""

from brainjepa_core.models.brainlm_picture.model import BrainLmPicture
from brainjepa_core.models.brainlm_picture.published import read_published
from brainjepa_core.models.brainlm_picture.settings import BrainLmPictureSettings
from brainjepa_core.models.registry import Family

FAMILY = Family(
    "brainlm_picture", BrainLmPictureSettings, BrainLmPicture, read_published=read_published
)
