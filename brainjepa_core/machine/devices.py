"""Which devices this machine has."""

from __future__ import annotations


def require_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises
    ------
    ValueError
        Naming it.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's own texts run over many lines
        raise ValueError(
            f"expected a device of this machine, found '{device}'; use cpu, or cuda where torch "
            "sees a GPU"
        ) from error
