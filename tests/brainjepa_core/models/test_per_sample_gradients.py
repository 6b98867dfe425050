"""Per-sample gradients under Opacus' hooks, for every parameter, against three other ways.

Privacy rests on these: a layer whose hook has no sample axis gives sums that are wrong without any
error. The worst case is R equal to the batch size, where shapes fit by accident.
"""

from __future__ import annotations

import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

# The patch embedding's input is data: that its hook sees no gradient of the input is as it should.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

PATCHES = 3
TOLERANCE = 1e-9  # float64: everything below is exact but for rounding

CASES = {
    "one mask": dict(batch=3, rois=7, n_context=6, n_target=4),
    "batch of as many people as ROIs": dict(batch=5, rois=5, n_context=5, n_target=5),
    "two masks": dict(batch=4, rois=6, masks=2, n_context=5, n_target=7),
    "as many masks as people and ROIs": dict(batch=4, rois=4, masks=4, n_context=4, n_target=4),
    "one context token": dict(batch=2, rois=5, n_context=1, n_target=9),
    "padded masks": dict(batch=3, rois=6, masks=2, n_context=8, n_target=6, padded=True),
    "padded, R equal to batch": dict(batch=6, rois=6, n_context=6, n_target=6, padded=True),
    "published recipe": dict(batch=5, rois=5, n_context=5, n_target=5, recipe="published"),
    "published recipe, padded": dict(
        batch=3, rois=6, masks=2, n_context=8, n_target=6, padded=True, recipe="published"
    ),
    "no basis": dict(batch=5, rois=5, n_context=5, n_target=5, positions="sincos"),
}


def make(
    batch: int,
    rois: int,
    n_context: int,
    n_target: int,
    masks: int | None = None,
    padded: bool = False,
    recipe: str = "default",
    **choices: str,
) -> tuple[BrainJEPA, tuple[Tensor | None, ...]]:
    """A model and the arguments of its call, in float64."""
    torch.manual_seed(0)
    s = BrainJepaSettings.preset(
        "tiny", rois=rois, recipe=recipe, frames=2 * PATCHES, patch=2, components=3, width=8,
        depth=2, heads=2, predictor_width=12, predictor_heads=3, **choices,
    )  # fmt: skip
    model = BrainJEPA(s, torch.randn(rois, 3)).double()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    leading = (batch,) if masks is None else (batch, masks)
    count = batch * (masks or 1)
    orders = torch.stack([torch.randperm(s.tokens) for _ in range(count)])
    orders = orders.reshape(*leading, s.tokens)
    context, target = orders[..., :n_context], orders[..., -n_target:]
    valid: list[Tensor | None] = [None, None, None]
    if padded:
        valid = [
            torch.arange(n) < torch.randint(1, n + 1, (*leading, 1)) for n in (n_context, n_target)
        ]
        valid.append(torch.rand(batch, s.tokens) > 0.2)
    return model, (torch.randn(batch, rois, 2 * PATCHES).double(), context, target, *valid)


def by_hooks(model: BrainJEPA, arguments: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """What a differentially private trainer reads after ``losses.mean().backward()``."""
    wrapped = GradSampleModule(model, loss_reduction="mean")
    try:
        wrapped(*arguments).mean().backward()
        return {
            name: p.grad_sample.detach() for name, p in model.named_parameters() if p.requires_grad
        }
    finally:
        wrapped.to_standard_module()


def one_person(arguments: tuple[Tensor | None, ...], i: int) -> tuple[Tensor | None, ...]:
    return tuple(None if a is None else a[i : i + 1] for a in arguments)


def by_loop(model: BrainJEPA, arguments: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """Each person alone."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = [
        torch.autograd.grad(model(*one_person(arguments, i)).sum(), list(trained.values()))
        for i in range(len(arguments[0]))
    ]
    return {name: torch.stack(g) for name, g in zip(trained, zip(*rows, strict=True), strict=True)}


def by_vmap(model: BrainJEPA, arguments: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    given = [i for i, a in enumerate(arguments) if a is not None]

    def loss(parameters: dict[str, Tensor], *rows: Tensor) -> Tensor:
        call: list[Tensor | None] = [None] * len(arguments)
        for i, row in zip(given, rows, strict=True):
            call[i] = row[None]
        return functional_call(model, parameters, tuple(call)).sum()

    gradients = vmap(grad(loss), in_dims=(None, *[0] * len(given)))
    with sdpa_kernel(SDPBackend.MATH):
        return gradients(trained, *[arguments[i] for i in given])


@pytest.mark.parametrize("case", CASES)
def test_hooks_equal_single_people_and_vmap_for_every_parameter(case):
    model, arguments = make(**CASES[case])
    found = by_hooks(model, arguments)
    loop, oracle = by_loop(model, arguments), by_vmap(model, arguments)
    expected = {n for n, _ in model.encoder.named_parameters(prefix="encoder")}
    expected |= {n for n, _ in model.predictor.named_parameters(prefix="predictor")}
    assert found.keys() == loop.keys() == oracle.keys() == expected
    assert len(expected) >= 55
    for name, rows in found.items():
        assert rows.shape == loop[name].shape, name
        assert torch.allclose(rows, loop[name], atol=TOLERANCE), name
        assert torch.allclose(oracle[name], loop[name], atol=TOLERANCE), name
        assert loop[name].flatten(1).norm(dim=1).min() > 0, f"{name} has no gradient to compare"


def test_mean_of_per_sample_gradients_is_the_gradient_of_the_loss():
    model, arguments = make(**CASES["two masks"])
    found = by_hooks(model, arguments)
    model.zero_grad()
    model(*arguments[:3]).mean().backward()
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert torch.allclose(found[name].mean(0), p.grad, atol=TOLERANCE), name


def test_wrapping_leaves_the_target_encoder_alone():
    model, arguments = make(**CASES["one mask"])
    wrapped = GradSampleModule(model, loss_reduction="mean")
    wrapped(*arguments).mean().backward()
    for module in model.target_encoder.modules():
        assert not module._forward_hooks
    for p in model.target_encoder.parameters():
        assert not p.requires_grad and p.grad is None and not hasattr(p, "grad_sample")
    model.after_step(0.5)
