"""The published model, number by number: golden arrays, then the eager oracle at other sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles.eager_jepa import (
    EagerJEPA,
    encoder_shapes,
    predictor_shapes,
    recipe_normal,
    recipe_state,
)
from shared_data import shared
from torch import Tensor

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import (
    ENCODER_NAMES,
    PREDICTOR_NAMES,
    from_official,
    to_official,
)
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings


def relative(found: Tensor, expected: Tensor | np.ndarray) -> float:
    expected = torch.as_tensor(expected)
    return float((found.detach() - expected).abs().max() / expected.abs().max())


def gradients(model: BrainJEPA) -> dict[str, Tensor]:
    """Gradients of the trained parts under the published names."""
    found = {}
    for part, names in (("encoder", ENCODER_NAMES), ("predictor", PREDICTOR_NAMES)):
        for name, parameter in getattr(model, part).named_parameters():
            for theirs, ours in names.items():
                if name.startswith(ours):
                    name = theirs + name[len(ours) :]
                    break
            assert parameter.grad is not None, name
            found[f"{part}.{name}"] = parameter.grad
    return found


@pytest.fixture(scope="module")
def golden():
    folder = shared("reference")
    case = json.loads((folder / "forward_vit_small.json").read_text())
    arrays = dict(np.load(folder / "forward_vit_small.npz"))
    gradient = np.loadtxt(shared("data", "gradients", "gradient_mapping_450.csv"), delimiter=",")[
        : case["roi"]
    ]
    states = {
        "encoder": recipe_state(case["salt"], "encoder", case["encoder"], 10),
        "predictor": recipe_state(case["salt"], "predictor", case["predictor"], 10),
        "target_encoder": recipe_state(case["salt"], "target", case["encoder"], 10),
    }
    shape = (case["batch"], 1, case["roi"], 160)
    x = recipe_normal(case["salt"], "input", shape).astype(np.float32)
    model, x = from_official(**states, gradient=gradient), torch.tensor(x[:, 0])
    return case, arrays, model, x, model.encode(x)


def indices(arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.tensor(arrays["context_index"]), torch.tensor(arrays["target_index"])


def test_golden_positions_and_target_encoder(golden):
    _, arrays, model, _, tokens = golden
    places = model.encoder.positions(model.basis_of(1))[0]
    assert relative(places[arrays["token_rows"]], arrays["position_rows"]) < 1e-5
    rows = tokens[:, arrays["token_rows"]]
    assert relative(rows, arrays["target_encoder_rows"]) < 1e-5
    assert relative(tokens.mean(1), arrays["pooled"]) < 1e-5
    targets = F.layer_norm(tokens, tokens.shape[-1:])[:, indices(arrays)[1][0]]
    assert relative(targets[:, arrays["target_rows"]], arrays["target_rows_normalised"]) < 1e-5


def test_golden_context_prediction_and_gradient_norms(golden):
    case, arrays, model, x, tokens = golden
    context_index, target_index = indices(arrays)
    context = model.context(x, context_index)
    assert relative(context[:, arrays["context_rows"]], arrays["context_encoder_rows"]) < 1e-5
    predicted = model.predict(context, context_index, target_index)
    assert relative(predicted[:, arrays["target_rows"]], arrays["prediction_rows"]) < 1e-5
    # The tokens of the other test: a pass over 4500 tokens takes most of the time. The pass that
    # `loss` makes itself is in the slow test below, and at other sizes.
    loss = F.smooth_l1_loss(predicted, F.layer_norm(tokens, tokens.shape[-1:])[:, target_index[0]])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    loss.backward()
    found = gradients(model)
    expected = {
        f"{part}.{key}": norm
        for part in ("encoder", "predictor")
        for key, norm in case[f"{part}_grad_norm"].items()
    }
    assert found.keys() == expected.keys()
    worst = {k: abs(float(found[k].norm()) / norm - 1) for k, norm in expected.items()}
    assert max(worst.values()) < 1e-4, max(worst, key=worst.get)


@pytest.mark.slow
def test_golden_loss_and_pooled_in_one_call(golden):
    case, arrays, model, x, _ = golden
    with torch.no_grad():
        assert model(x, *indices(arrays)).mean().item() == pytest.approx(case["loss"], rel=1e-5)
    assert relative(model.embed(x), arrays["pooled"]) < 1e-5


def make_pair(
    salt: str,
    *,
    rois: int,
    frames: int,
    patch: int,
    components: int,
    width: int,
    depth: int,
    predictor_width: int,
    predictor_depth: int,
    batch: int,
) -> tuple[BrainJEPA, EagerJEPA, Tensor]:
    """Model, oracle and windows of one size, by the recipe of the golden case."""
    times = frames // patch
    encoder = encoder_shapes(width, depth, rois, times, patch, components)
    predictor = predictor_shapes(width, predictor_width, predictor_depth, rois, times, components)
    states = {
        "encoder": recipe_state(salt, "encoder", encoder, times),
        "predictor": recipe_state(salt, "predictor", predictor, times),
        "target_encoder": recipe_state(salt, "target", encoder, times),
    }
    gradient = recipe_normal(salt, "gradient", (rois, components)).astype(np.float32)
    x = torch.tensor(recipe_normal(salt, "input", (batch, rois, frames)).astype(np.float32))
    model = from_official(**states, gradient=gradient)
    eager = EagerJEPA(
        **{part: {k: v.clone() for k, v in state.items()} for part, state in states.items()},
        gradient=torch.tensor(gradient),
        heads=width // 64,
        predictor_heads=width // 64,
    )
    return model, eager, x


SIZES = {
    "preset base, 120 ROIs": dict(
        rois=120, frames=160, patch=16, components=30,
        width=768, depth=12, predictor_width=384, predictor_depth=6, batch=1,
    ),
    "base width, 120 ROIs": dict(
        rois=120, frames=160, patch=16, components=30,
        width=768, depth=1, predictor_width=384, predictor_depth=1, batch=1,
    ),
    "short windows": dict(
        rois=30, frames=48, patch=8, components=7,
        width=128, depth=3, predictor_width=64, predictor_depth=2, batch=2,
    ),
    "one time patch, one component": dict(
        rois=17, frames=12, patch=12, components=1,
        width=192, depth=1, predictor_width=96, predictor_depth=1, batch=3,
    ),
}  # fmt: skip


def draw(model: BrainJEPA, batch: int, masks: int) -> tuple[Tensor, Tensor]:
    """Random disjoint indices [B, K, Nc] and [B, K, Nt]."""
    n = model.settings.tokens
    orders = torch.stack([torch.randperm(n) for _ in range(batch * masks)])
    orders = orders.reshape(batch, masks, n)
    return orders[..., : n // 4].contiguous(), orders[..., -(n // 5) :].contiguous()


PRESET = "preset base, 120 ROIs"


@pytest.mark.parametrize(
    "size",
    [pytest.param(PRESET, marks=pytest.mark.slow), *(size for size in SIZES if size != PRESET)],
)
def test_other_sizes_equal_the_eager_oracle(size):
    model, eager, x = make_pair("parity", **SIZES[size])
    if size == PRESET:
        assert model.settings == BrainJepaSettings.preset("base", rois=120, recipe="published")
    context_index, target_index = (i[:, 0] for i in draw(model, len(x), 1))
    assert relative(model.encode(x), eager.encode(eager.target_encoder, x)) < 1e-5
    trained = eager.trained()
    ours = model(x, context_index, target_index).mean()
    theirs = eager.loss(x, context_index, target_index)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    ours.backward()
    theirs.backward()
    found = gradients(model)
    keys = [f"{p}.{k}" for p in ("encoder", "predictor") for k in getattr(eager, p)]
    expected = dict(zip([k for k in keys if "emb_h" not in k], trained, strict=True))
    assert found.keys() == expected.keys()
    for key, parameter in expected.items():
        grad = found[key].reshape(parameter.shape)
        # A key's bias shifts every score of a query alike: no gradient but rounding.
        scale = parameter.grad.norm().clamp_min(1e-7)
        assert float((grad - parameter.grad).norm() / scale) < 1e-4, key


def test_masks_per_sample_share_one_target_pass_and_equal_the_oracle_one_by_one():
    model, eager, x = make_pair("masks", **SIZES["short windows"])
    context_index, target_index = draw(model, len(x), 3)
    with torch.no_grad():
        found = float(model(x, context_index, target_index).mean())
        each = [float(eager.loss(x, context_index[:, k], target_index[:, k])) for k in range(3)]
    assert found == pytest.approx(np.mean(each), rel=1e-5)


def test_several_optimiser_steps_follow_the_oracle():
    model, eager, x = make_pair("steps", **SIZES["one time patch, one component"])
    context_index, target_index = (i[:, 0] for i in draw(model, len(x), 1))
    for momentum in (0.9, 0.99, 1.0):
        for jepa, loss_of, parameters in (
            (model, model, [p for p in model.parameters() if p.requires_grad]),
            (eager, eager.loss, eager.trained()),
        ):
            loss = loss_of(x, context_index, target_index).mean()
            with torch.no_grad():
                for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    p.sub_(0.5 * g)
            jepa.after_step(momentum)
    for part, state in to_official(model).items():
        for key, value in getattr(eager, part).items():
            assert relative(state[key], value.detach()) < 1e-5, (part, key)


def test_module_prefix_changes_nothing():
    model, eager, x = make_pair("prefix", **SIZES["one time patch, one component"])
    states = {
        part: {f"module.{k}": v for k, v in getattr(eager, part).items()}
        for part in ("encoder", "predictor", "target_encoder")
    }
    prefixed = from_official(**states, gradient=eager.gradient)
    assert torch.equal(prefixed.encode(x), model.encode(x))
