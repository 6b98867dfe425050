"""BrainGNN: graph convolutions that know which ROI they are at."""

from brainjepa_core.models.braingnn.network import BrainGnn
from brainjepa_core.models.braingnn.settings import BrainGnnSettings
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import Family, Learner

FAMILY = Family(
    "braingnn", BrainGnnSettings, ConnectivityLearner, learner=Learner("BrainGNN", BrainGnn)
)
