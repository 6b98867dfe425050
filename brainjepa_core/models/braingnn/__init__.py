"""BrainGNN: graph convolutions that know which ROI they are at."""

from brainjepa_core.models.braingnn.network import BrainGnn
from brainjepa_core.models.braingnn.settings import BrainGnnSettings
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import Family, Learner

# It learns slowly: with the steps of other networks it is at chance where they are not.
TRAINING = {"steps": 600, "lr": 3e-3, "patience": 15}
FAMILY = Family(
    "braingnn",
    BrainGnnSettings,
    ConnectivityLearner,
    learner=Learner("BrainGNN", BrainGnn, TRAINING),
)
