"""What `Computing` says, as PyTorch has to be told: kernels, products and casts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.packed import PackedAttention
from brainjepa_core.models.parts.transformer import masked_attention, use_attention
from brainjepa_core.pretraining.computing.settings import Computing

# cuDNN plans each new shape anew, for tenths of a second, and a step's masks have sizes of its own.
WITHOUT_PLANS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def choose_attention(model: BrainModel, computing: Computing) -> None:
    """Give a model's attention the kernel that was chosen."""
    packed = computing.attention == "packed"
    use_attention(model, PackedAttention() if packed else masked_attention)


@contextmanager
def chosen_kernels(computing: Computing, device: torch.device) -> Iterator[None]:
    """Within it all is computed as chosen: products, convolutions, attention, backward passes."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32  # torch's default of the latter is True
    products.allow_tf32 = convolutions.allow_tf32 = computing.precision == "tf32"
    planned = [SDPBackend.CUDNN_ATTENTION] if computing.attention == "cudnn" else []
    try:
        with sdpa_kernel([*planned, *WITHOUT_PLANS]):
            yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def rounding(
    computing: Computing, device: torch.device, *, keep_casts: bool = True
) -> torch.autocast:
    """Within it forward passes are in bf16, where that was chosen.

    Parameters
    ----------
    computing : Computing
    device : torch.device
    keep_casts : bool
        Cast a weight once, however often it is used.
    """
    half = computing.precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=keep_casts)
