"""BrainGNN against numbers of two other implementations, in float64, gradients too; its sizes."""

from __future__ import annotations

import pytest
import torch
from golden import golden
from torch import Tensor

from brainjepa_core.models.braingnn.losses import apart, undecided_ranks
from brainjepa_core.models.braingnn.network import BrainGnn

RELATIVE = 1e-9  # of float64
OURS = {
    "n1a": "convolutions.0.membership.weight",
    "n1b": "convolutions.0.weights.weight",
    "n1c": "convolutions.0.weights.bias",
    "b1": "convolutions.0.bias",
    "p1": "pools.0.direction",
    "n2a": "convolutions.1.membership.weight",
    "n2b": "convolutions.1.weights.weight",
    "n2c": "convolutions.1.weights.bias",
    "b2": "convolutions.1.bias",
    "p2": "pools.1.direction",
    "f1w": "dense.0.0.weight",
    "f1b": "dense.0.0.bias",
    "bn1w": "dense.0.2.weight",
    "bn1b": "dense.0.2.bias",
    "f2w": "dense.1.0.weight",
    "f2b": "dense.1.0.bias",
    "bn2w": "dense.1.2.weight",
    "bn2b": "dense.1.2.bias",
    "f3w": "head.weight",
    "f3b": "head.bias",
}


def close(found: Tensor, expected: Tensor | float) -> bool:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    return bool((found - expected).abs().max() <= RELATIVE * expected.abs().max())


@pytest.fixture
def known() -> tuple[BrainGnn, dict[str, Tensor], dict]:
    arrays, figures = golden("braingnn")
    c = figures["config"]
    model = BrainGnn(c["R"], c["classes"], norm="batch", scored_by="ranks", dropout=0.0).double()
    weights = {OURS[name[2:]]: a for name, a in arrays.items() if name.startswith("w.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("running" in n or "batches" in n for n in missing)
    return model, arrays, figures


def graphs(a: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return a["x"], torch.ones(a["x"].shape[:2], dtype=torch.bool), a["adjacency"]


def test_readout_scores_and_who_is_kept(known):
    model, a, _ = known
    readout, (first, second) = model.readout(*graphs(a))
    assert close(readout, a["readout"])
    assert torch.equal(first.index, a["kept1"])
    for scores, name in ((first, "score1"), (second, "score2")):
        assert close(scores.ranked, a[name])
    assert torch.equal(first.index.gather(1, second.index), a["kept2"])
    assert close(model.eval()(*graphs(a)).log_softmax(1), a["log_softmax_eval"])


def test_losses_and_gradients(known):
    model, a, figures = known
    outputs, added = model.train().learned(graphs(a), a["y"])
    told = outputs.log_softmax(1)
    assert close(told, a["log_softmax_train"])
    _, (first, second) = model.scored(*graphs(a))
    expected = figures["loss"]
    for name, scores in (("topk1", first), ("topk2", second)):
        assert close(undecided_ranks(scores).mean(), expected[name]), name
    consistency = apart(torch.sigmoid(first.ranked), first.kept, a["y"])
    # A difference of numbers near 0.65: of its 3.7e-6, float64 resolves nine digits.
    assert close(consistency, expected["group_consistency"])
    loss = torch.nn.functional.nll_loss(told, a["y"]) + added.mean()
    assert close(loss, expected["total"])
    model.zero_grad()
    loss.backward()
    ours = dict(model.named_parameters())
    assert ours.keys() == set(OURS.values()) and OURS.keys() == figures["grad_norms"].keys()
    for name, norm in figures["grad_norms"].items():
        assert close(ours[OURS[name]].grad.norm(), norm), name


@pytest.mark.parametrize(("rois", "outputs"), [(r, o) for r in (200, 400, 450) for o in (1, 2)])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_published_size(rois, outputs, norm):
    _, figures = golden("braingnn")
    model = BrainGnn(rois, outputs, norm=norm)
    found = sum(p.numel() for p in model.parameters())
    assert found == figures["counts"][f"R={rois}, {outputs} outputs"]
