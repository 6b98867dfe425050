"""BrainNetCNN: convolutions over the edges of connectivity."""

from brainjepa_core.models.brainnetcnn.network import BrainNetCnn
from brainjepa_core.models.brainnetcnn.settings import BrainNetCnnSettings
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import Family, Learner

FAMILY = Family(
    "brainnetcnn",
    BrainNetCnnSettings,
    ConnectivityLearner,
    learner=Learner("BrainNetCNN", BrainNetCnn),
)
