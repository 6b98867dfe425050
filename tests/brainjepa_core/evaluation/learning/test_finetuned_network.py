"""Encoder, read-outs and heads: what is read, what moves, and how fast."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_network import (
    FinetunedNetwork,
    adapted_for,
    layer_groups,
    release,
)
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead
from brainjepa_core.evaluation.readout.connectivity import matrix_of
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.readout.with_slopes import LogWithSlopes
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, embed_people
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

SEEN = LogConnectivity.of(np.corrcoef(np.random.default_rng(0).standard_normal((5, 30))), 3)
BOTH = ("latent_connectivity", "latent_log_connectivity")
PAIRS, LOGS = 10, 9


def small_model(depth: int = 3) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=8, depth=depth, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=5, frames=8, patch=4, components=2, **sizes)
    model = BrainJEPA(s, torch.randn(5, 2))
    for parameter in model.target_encoder.parameters():  # unlike the context encoder's
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def network_of(model: BrainJEPA | None = None, readouts=BOTH) -> FinetunedNetwork:
    torch.manual_seed(1)
    width = PAIRS * ("latent_connectivity" in readouts) + LOGS * (BOTH[1] in readouts)
    head = ReadOutHead(width, 2)
    return FinetunedNetwork(model or small_model(), head, readouts, LogWithSlopes.of(SEEN)).eval()


def released(**choices) -> set[str]:
    settings = FinetuneSettings(**choices)
    network = network_of(adapted_for(small_model(), settings))
    release(network.encoder, settings)
    return {name for name, p in network.encoder.named_parameters() if p.requires_grad}


def whole_windows(network: FinetunedNetwork, x: torch.Tensor, valid=None) -> torch.Tensor:
    """Outputs of windows, each as if it were a person."""
    valid = torch.ones(len(x), 10, dtype=torch.bool) if valid is None else valid
    rois, person = valid.reshape(len(x), 5, 2).any(-1), torch.arange(len(x))
    label = torch.zeros_like(person)
    return network(x, torch.zeros_like(x), valid, rois, person, label, label)


class Windows:
    """One window a person, as `embed_people` asks for it."""

    def __init__(self, x: torch.Tensor, rois: torch.Tensor) -> None:
        self._x, self._rois, self.subjects = x.numpy(), rois.numpy(), len(x)

    def whole_scans(self, subject):
        frames = np.ones((1, self._x.shape[2]), bool)
        return [(self._x[subject][None], frames, self._rois[subject][None])]


@pytest.mark.parametrize("readouts", [BOTH, BOTH[:1], BOTH[1:], BOTH[::-1]])
def test_it_reads_what_the_model_embeds(readouts):
    model, x = small_model(), torch.randn(4, 5, 8)
    x -= x.mean(2, keepdim=True)
    rois = torch.ones(4, 5, dtype=torch.bool)
    rois[0, 3] = False
    x = x * rois[..., None]
    pairs = embed_people(model, Windows(x, rois), range(4), BOTH[:1])[LATENT_CONNECTIVITY]
    parts = {BOTH[0]: pairs, BOTH[1]: SEEN.features(matrix_of(pairs))}
    network = network_of(model, readouts)
    there = rois.repeat_interleave(2, 1)
    person = torch.arange(4)
    r = network.connectivity(x, torch.zeros_like(x), there, rois, person, 4)
    found, known = network.read(*r)
    shown = torch.where(known, found, torch.nan).detach()
    assert_allclose(shown, np.concatenate([parts[name] for name in readouts], 1), atol=1e-5)
    out = network.of_connectivity(*r)
    assert torch.equal(out, network.head(found, known, torch.zeros_like(person)))


def test_what_is_missing_counts_as_the_centre():
    head = ReadOutHead(3, 1, groups=2)
    head.centre[1] = torch.tensor([1.0, 2.0, 3.0])
    x, known = torch.tensor([[1.0, 99.0, 3.0]]), torch.tensor([[True, False, True]])
    assert torch.equal(head(x, known, torch.tensor([1])), head.linear.bias[None])
    assert not torch.equal(head(x, known, torch.tensor([0])), head.linear.bias[None])


def test_the_model_is_left_alone():
    model = small_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = FinetuneSettings(train="adapters")
    network = network_of(adapted_for(model, settings))
    release(network.encoder, settings)
    whole_windows(network, torch.randn(2, 5, 8)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(p.requires_grad for p in model.target_encoder.parameters())


def test_missing_rois_and_padded_frames_never_influence():
    network, x = network_of(), torch.randn(2, 5, 8)
    valid = torch.ones(2, 5, 2, dtype=torch.bool)
    valid[0, 3], valid[1, :, 1] = False, False
    other = x.clone()
    other[0, 3], other[1, :, 4:] = 99.0, -99.0
    valid = valid.flatten(1)
    assert torch.equal(whole_windows(network, x, valid), whole_windows(network, other, valid))
    assert not torch.equal(whole_windows(network, x), whole_windows(network, other))


def test_in_training_each_person_is_judged_without_their_part():
    network, x = network_of(), torch.randn(3, 5, 8)
    network.left_out = torch.nn.ModuleList(ReadOutHead(PAIRS + LOGS, 2) for _ in range(2))
    there, rois = torch.ones(3, 10, dtype=torch.bool), torch.ones(3, 5, dtype=torch.bool)
    person, group = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    given = x, torch.zeros_like(x), there, rois, person, group
    found = network.read(*network.connectivity(*given[:-1], 3))
    out = network.train()(*given, torch.tensor([1, 0, 1]))
    each = [head(*found, group) for head in network.left_out]
    assert torch.equal(out, torch.stack([each[1][0], each[0][1], each[1][2]]))
    whole = network.eval()(*given, torch.tensor([1, 0, 1]))
    assert torch.equal(whole, network.head(*found, group))


def test_what_moves():
    assert released(train="head") == set()
    assert released(train="all") == {n for n, _ in small_model().target_encoder.named_parameters()}
    parts = [f"blocks.{i}.norm{j}" for i in range(3) for j in (1, 2)] + ["norm"]
    norms = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    ups = {f"blocks.{i}.attn.{layer}.up" for i in range(3) for layer in ("qkv", "proj")}
    assert released(train="adapters", adapter_rank=2) == norms | ups


def test_each_layer_has_its_factor():
    encoder = small_model().target_encoder.requires_grad_(True)
    groups = layer_groups(encoder, 0.5)
    names = {id(p): name for name, p in encoder.named_parameters()}
    found = {names[id(p)]: group.factor for group in groups for p in group.parameters}
    assert len(found) == len(names)
    for name, factor in found.items():
        expected = {"patch": 0.5**4, "positions": 0.5**4, "norm": 1.0}
        part, *rest = name.split(".")
        assert factor == (0.5 ** (3 - int(rest[0])) if part == "blocks" else expected[part])


def test_a_network_is_made_where_the_model_lies():
    """On another device than the CPU's; this one has shapes and no numbers."""
    there = network_of(small_model().to("meta"))
    assert there.encoder.patch.weight.device.type == there.basis.device.type == "meta"
