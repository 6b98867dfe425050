"""How many of this machine's processor cores a process may use."""

from __future__ import annotations

import os

_torchs = _last = 0  # threads that torch itself chose, and what was set here last


def usable_cores() -> int:
    """Cores by the process's affinity and by the quota of its container; at least 1."""
    from joblib import cpu_count

    return int(cpu_count())


def cores_of_one() -> int:
    """Cores for this process, of as many as train together on this machine; at least 1.

    torchrun says how many these are. Other launchers give each process cores of its own, or none
    in particular.
    """
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def use_threads(threads: int | None = None) -> int:
    """Let torch compute on so many threads in this process, and return how many.

    Parameters
    ----------
    threads : int, optional
        By default torch's own choice (of cores, affinity and ``OMP_NUM_THREADS``), whatever was
        asked for here before, but no more than `usable_cores`: torch does not know a container's
        quota, beyond which threads wait for one another.
    """
    global _torchs, _last
    import torch

    if (found := torch.get_num_threads()) != _last:  # not of here
        _torchs = found
    _last = threads or min(_torchs, usable_cores())
    torch.set_num_threads(_last)
    return _last
