"""Numbers that models are known to give, computed by others from the same weights and inputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from shared_data import shared
from torch import Tensor, nn

RELATIVE = 1e-5  # of float32


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays and figures of a model; the test is skipped where they are not at hand."""
    arrays = shared("reference", "peers", f"{name}.npz")
    figures = json.loads(shared("reference", "peers", f"{name}.json").read_text())
    with np.load(arrays) as file:
        return {key: torch.from_numpy(file[key]) for key in file}, figures


def close(found: Tensor | float, expected: Tensor | float) -> bool:
    """Equal to one part in a hundred thousand of the largest number."""
    a, b = torch.as_tensor(found).detach().double(), torch.as_tensor(expected).double()
    assert a.shape == b.shape, (a.shape, b.shape)
    return bool((a - b).abs().max() <= RELATIVE * b.abs().max())


def load(part: nn.Module, arrays: dict[str, Tensor]) -> None:
    """Put arrays in place by name and shape, none of them missing and none left."""
    own = part.state_dict()
    part.load_state_dict({name: arrays[name].reshape(own[name].shape) for name in arrays})


def wrong_gradients(
    model: nn.Module, expected: dict[str, float], theirs: dict[str, tuple[str, slice | None]]
) -> dict[str, tuple[float, float]]:
    """Parameters whose gradient has another norm than expected, as (found, expected).

    Parameters
    ----------
    model : nn.Module
        After the backward pass.
    expected : dict
        Norms by their names.
    theirs : dict
        Their name to ours, and which rows of ours it is.

    Norms that are rounding alone (of a bias before a norm, say) have to be as small.
    """
    ours = dict(model.named_parameters())
    rounding = 1e-6 * max(expected.values())  # below it, the gradient is 0
    wrong = {}
    for name, norm in expected.items():
        own, rows = theirs[name]
        gradient = ours[own].grad
        assert gradient is not None, own
        found = float((gradient if rows is None else gradient[rows]).norm())
        if abs(found - norm) > (RELATIVE * norm if norm > rounding else rounding):
            wrong[name] = (found, norm)
    return wrong
