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
        raise _none(device) from error


def require_counted(device: str) -> None:
    """Refuse a device beyond those of this machine, for a process that computes elsewhere.

    Nothing is kept on it, where `require_device` takes some hundred megabytes of a GPU for as long
    as this process lives.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda`` or ``cuda:<number>``.

    Raises
    ------
    ValueError
        Naming it.
    """
    import torch

    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise _none(device)


def _none(device: str) -> ValueError:
    return ValueError(
        f"expected a device of this machine, found '{device}'; use cpu, or cuda where torch "
        "sees a GPU"
    )
