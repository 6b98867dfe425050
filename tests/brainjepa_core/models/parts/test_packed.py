"""Packed attention on a kernel that does what the GPU's is said to do, against masked attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.packed import PackedAttention
from brainjepa_core.models.parts.transformer import masked_attention, use_attention


class Flash(torch.autograd.Function):
    """Sample by sample. What the GPU's kernel leaves undefined is NaN here.

    It knows half precision alone, int32 starts and rows without gaps.
    """

    @staticmethod
    def forward(ctx, q, k, v, starts_q, starts_k, most_q, most_k):
        assert {q.dtype, k.dtype, v.dtype} == {torch.bfloat16}
        assert starts_q.dtype == starts_k.dtype == torch.int32
        assert starts_q[-1] == len(q) and starts_k[-1] <= len(k)
        assert most_q >= starts_q.diff().max() and most_k >= starts_k.diff().max()
        ctx.save_for_backward(q, k, v, starts_q, starts_k)
        out = torch.full_like(q, torch.nan)
        for rows, keys in _samples(starts_q, starts_k):
            out[rows] = _attend(q[rows], k[keys], v[keys])
        return out

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, starts_q, starts_k = ctx.saved_tensors
        found = [torch.full_like(x, torch.nan) for x in (q, k, v)]
        for rows, keys in _samples(starts_q, starts_k):
            parts = [x.detach().requires_grad_() for x in (q[rows], k[keys], v[keys])]
            with torch.enable_grad():
                out = _attend(*parts)
            own = torch.autograd.grad(out, parts, gradient[rows])
            for total, place, part in zip(found, (rows, keys, keys), own, strict=True):
                total[place] = part
        return *found, None, None, None, None


def _samples(starts_q, starts_k):
    for i in range(len(starts_q) - 1):
        yield slice(*starts_q[i : i + 2].tolist()), slice(*starts_k[i : i + 2].tolist())


def _attend(q, k, v):
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)


packed = PackedAttention(Flash.apply)


def tensors(batch=3, heads=2, queries=5, keys=7, width=8):
    generator = torch.Generator().manual_seed(0)
    shapes = ((queries,), (keys,), (keys,))
    return [
        torch.randn(batch, heads, *n, width, generator=generator).bfloat16().requires_grad_()
        for n in shapes
    ]


VALID = torch.tensor(
    [[True] * 7, [False, True, True, False, True, False, False], [False] * 6 + [True]]
)


@pytest.mark.parametrize("valid", [VALID, torch.ones(3, 7, dtype=torch.bool)])
def test_packed_attention_is_masked_attention(valid):
    given = tensors()
    gradient = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    for kernel in (masked_attention, packed):
        out = kernel(*given, valid)
        found = [out, *torch.autograd.grad(out, given, gradient)]
        if kernel is masked_attention:
            expected = found
    for a, b in zip(found, expected, strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)
    hidden = ~valid[:, None, :, None].expand_as(given[1])
    assert (found[2][hidden] == 0).all() and (found[3][hidden] == 0).all()


def test_without_a_mask_or_in_float32_it_is_masked_attention():
    def never(*_):
        raise AssertionError("packed")

    kernel, given = PackedAttention(never), tensors()
    assert torch.equal(kernel(*given, None), masked_attention(*given, None))
    exact = [x.float() for x in given]
    assert torch.equal(kernel(*exact, VALID), masked_attention(*exact, VALID))


def test_a_model_learns_the_same_from_people_who_lack_rois_and_frames():
    """Losses and gradients, through masks that share a target pass."""
    settings = BrainJepaSettings.preset(
        "tiny", rois=6, frames=12, patch=3, components=2, width=16, depth=2, heads=2,
        predictor_width=16, predictor_depth=2, predictor_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BrainJEPA(settings, torch.randn(6, 2))
    there = np.ones((3, 6, 4), bool)
    there[0, 2], there[1, :, 3:] = False, False  # an ROI, and the end of a scan
    there = there.reshape(3, 24)
    masks = MaskSettings(masks_per_sample=2)
    draws = model.draw(masks, seed=0, step=0, samples=range(3), token_valid=there)
    x, valid = torch.randn(3, 6, 12), torch.from_numpy(there)
    assert draws["context_valid"] is not None and draws["target_valid"] is not None
    calls, found = [], {}

    def counted(*call):
        calls.append(call)
        return Flash.apply(*call)

    for name, kernel in {"masked": masked_attention, "packed": PackedAttention(counted)}.items():
        use_attention(model, kernel)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            losses = model.sample_losses(x, token_valid=valid, **draws)
        losses.sum().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found[name] = losses.detach(), torch.cat(gradients)
    assert len(calls) == 6  # of each block of encoder, target encoder and predictor
    torch.testing.assert_close(found["packed"][0], found["masked"][0], rtol=0.01, atol=0.01)
    gap = (found["packed"][1] - found["masked"][1]).norm() / found["masked"][1].norm()
    assert gap < 0.03


def test_packing_never_waits_for_the_device(monkeypatch):
    def free(q, k, v, *_):
        return q + k.sum() + v.sum()

    def wait(*_: object) -> None:
        raise AssertionError("a value was asked of the device")

    names = ("item", "tolist", "numpy", "nonzero", "__float__", "__int__", "__bool__", "__index__")
    given = tensors()
    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(torch.Tensor, name, wait)
        PackedAttention(free)(*given, VALID).sum().backward()


@pytest.mark.gpu
def test_the_kernel_of_a_gpu_is_what_is_said_of_it():
    given = [x.detach().cuda().repeat(1, 1, 1, 4).requires_grad_() for x in tensors()]
    valid, found = VALID.cuda(), []
    for kernel in (masked_attention, PackedAttention()):
        out = kernel(*given, valid)
        found.append([out, *torch.autograd.grad(out.float().square().sum(), given)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.03)
