"""Tensors on their way to a device, beside what it computes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def moved(value: Tensor | None, device: torch.device) -> Tensor | None:
    """A tensor on a device, without waiting for it.

    What comes from the processor's memory is copied to a GPU on a stream of its own, while the GPU
    computes what was asked before; what is asked from now on waits for the copy.
    """
    if value is None:
        return None
    if device.type != "cuda" or value.is_cuda:
        return value.to(device)
    side, asked = _side_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        there = value.pin_memory().to(device, non_blocking=True)
    asked.wait_stream(side)
    there.record_stream(asked)  # or its memory could be given away before it was read
    return there
