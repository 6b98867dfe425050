"""AdamW whose moments are shared out among processes: each keeps those of its part of the weights.

ZeRO stage 1 (Rajbhandari et al., SC 2020), by torch. Each weight's step is computed whole by one
process and told to the others, so that bits are those of a whole optimiser.
"""

from __future__ import annotations

from typing import Any

import torch


def sharded_adamw(groups: list[dict[str, Any]], **choices: Any) -> torch.optim.Optimizer:
    """AdamW over parameter groups, a part in each process.

    Parameters
    ----------
    groups : list of dict
    **choices
        Of ``torch.optim.AdamW``.
    """
    from torch.distributed.optim import ZeroRedundancyOptimizer  # slow to import

    return ZeroRedundancyOptimizer(groups, optimizer_class=torch.optim.AdamW, **choices)


def collect_moments(optimizer: torch.optim.Optimizer) -> None:
    """Bring all moments to the first process, before it asks for them; called by all processes."""
    consolidate = getattr(optimizer, "consolidate_state_dict", None)
    if consolidate is not None:
        consolidate(to=0)
