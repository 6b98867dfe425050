"""BrainGNN: graph convolutions that know which ROI they are at."""

from brainjepa_core.models.braingnn.network import BrainGnn
from brainjepa_core.models.braingnn.settings import BrainGnnSettings
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import Family, Learner

# As published, for what differs between people is small beside what they share: without statistics
# of a batch it is at chance on 516 people whom it tells apart with them.
OPTIONS = {"norm": "batch"}
TRAINING = {"steps": 400, "batch_size": 64, "lr": 1e-2, "weight_decay": 5e-3, "patience": 15}
FAMILY = Family(
    "braingnn",
    BrainGnnSettings,
    ConnectivityLearner,
    learner=Learner("BrainGNN", BrainGnn, TRAINING, OPTIONS),
)
