"""BrainMass against numbers that an implementation of others gives, gradients too; its sizes."""

from __future__ import annotations

import re

import pytest
import torch
from golden import close, golden, load, wrong_gradients
from torch import Tensor

from brainjepa_core.models.brainmass.model import CONTRAST, REBUILD, BrainMass
from brainjepa_core.models.brainmass.settings import BrainMassSettings

NAMES = {
    "self_attn.in_proj_": "attn.qkv.",
    "self_attn.out_proj": "attn.proj",
    "linear1": "fc1",
    "linear2": "fc2",
}
TOKENS = ("mask_embed", "cls", "dist")


def ours(name: str) -> str:
    name = re.sub(r"^online\.attention_list\.", "encoder.blocks.", name)
    name = name.replace("online.dim_reduction.0.", "encoder.reduction.")
    name = name.replace("online.g.net.", "projector.").replace("predictor.net.", "predictor.")
    name = name.replace("cpred.", "contrast_head.").replace("gpred.", "rebuild_head.")
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


@pytest.fixture(scope="module")
def known() -> tuple[BrainMass, dict[str, Tensor], dict]:
    arrays, figures = golden("brainmass")
    c = figures["config"]
    settings = BrainMassSettings.preset(
        "tiny", rois=c["R"], recipe="published", frames=16, components=2, depth=c["depth"],
        heads=c["heads"], inner=c["feedforward"], projection=c["feature_dim"], reduced=8,
        train_masks=True,
    )  # fmt: skip
    model = BrainMass(settings, torch.zeros(c["R"], 2))
    read = ("online.", "predictor.", "cpred.", "gpred.")
    weights = {ours(k): v for k, v in arrays.items() if k.startswith(read) and "running" not in k}
    weights["mask_tokens.weight"] = torch.cat([arrays[name][0] for name in TOKENS])
    targets = {
        follower: weights[model.roles.leader_of(follower)] * arrays["target_scale"]
        for follower in model.state_dict()
        if model.roles.is_follower(follower)
    }
    load(model, {"basis": model.basis, **weights, **targets})
    return model, arrays, figures


def parts(model: BrainMass, a: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "byol": model.views_apart(a["view1"], a["view2"]),
        "nce": model.told_badly(a["view1"], a["mcl"], None, None),
        "mse": model.rebuilt_badly(a["view1"], a["mrm"], None, None),
    }


def test_features_and_views(known):
    model, a, _ = known
    assert close(model.encoder.features(a["view1"]).flatten(1), a["features_eval"])
    assert close(model.predicted(a["view1"]), a["pred1"])
    seen = model.target_projector(model.target_encoder.features(a["view2"]).flatten(1))
    assert close(seen, a["target2"])


def test_losses_and_gradients(known):
    model, a, figures = known
    found = {name: loss.mean() for name, loss in parts(model, a).items()}
    total = found["byol"] + CONTRAST * found["nce"] + REBUILD * found["mse"]
    for name, loss in {**found, "total": total}.items():
        assert close(loss, figures["losses"][name]), name
    model.zero_grad()
    total.backward()
    expected = figures["grad_norms"]
    theirs = {name: (ours(name), None) for name in expected}
    tokens = {t: ("mask_tokens.weight", slice(i, i + 1)) for i, t in enumerate(TOKENS)}
    assert wrong_gradients(model, expected, {**theirs, **tokens}) == {}
    assert len(expected) == 53
    assert all(p.grad is None for p in model.target_encoder.parameters())


@pytest.mark.parametrize(
    ("rois", "count"), [(100, "released config (R 100, depth 16, heads 10, ff 2048, feature 1024)"),
                        (450, "R 450, heads 10, same")]
)  # fmt: skip
@pytest.mark.parametrize("recipe", ["default", "published"])
def test_the_published_size(rois, count, recipe):
    _, figures = golden("brainmass")
    settings = BrainMassSettings.preset("base", rois=rois, recipe=recipe, components=2)
    model = BrainMass(settings, torch.zeros(rois, 2))
    numbers = {name: p.numel() for name, p in model.named_parameters()}

    def of(*prefixes: str) -> int:
        return sum(n for name, n in numbers.items() if name.startswith(prefixes))

    found = {
        "trunk": of("encoder.blocks."),
        "dim_reduction": of("encoder.reduction."),
        "projector": of("projector."),
        "predictor": of("predictor."),
        "online_total": of("encoder.", "projector."),
        "optimised_total_as_released": of("encoder.", "projector.", "predictor."),
    }
    expected = figures["counts"][count]
    assert found == {name: expected[name] for name in found}
    # Beside them, two tokens that the released code keeps and never reads.
    assert sum(numbers.values()) + 2 * rois == expected["in_state_dict"]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    masks = of("mask_tokens.", "contrast_head.", "rebuild_head.")
    assert trained == found["optimised_total_as_released"] + masks * (recipe == "default")
