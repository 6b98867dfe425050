"""Brain Network Transformer: attention among ROIs by their profiles of connectivity."""

from brainjepa_core.models.brain_network_transformer.network import BrainNetworkTransformer
from brainjepa_core.models.brain_network_transformer.settings import (
    BrainNetworkTransformerSettings,
)
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearner
from brainjepa_core.models.registry import Family, Learner

# Its losses do not move in the first 300 steps on 516 people.
TRAINING = {"steps": 1000, "patience": 30}
FAMILY = Family(
    "brain_network_transformer",
    BrainNetworkTransformerSettings,
    ConnectivityLearner,
    learner=Learner("Brain Network Transformer", BrainNetworkTransformer, TRAINING),
)
