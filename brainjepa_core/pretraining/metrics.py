"""Does it learn, or does it only look like it? Collapse and the position shortcut in numbers.

A falling JEPA loss is no evidence: predicting positions alone brings it to zero. These metrics
are cheap signs; the yardstick of `brainjepa_core.evaluation` is the evidence.

Shapes: B people, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

FEW = 4  # people whose tokens' rank is looked at


def effective_rank(vectors: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007).

    Parameters
    ----------
    vectors : Tensor [n, D]
        One row a person or a token; centred here.

    Returns
    -------
    Tensor
        Scalar between 1 and min(n - 1, D); 0 where all rows are equal.
    """
    given = torch.promote_types(vectors.dtype, torch.float32)
    vectors = vectors.double()  # products square the spread of what is summed
    centred = vectors - vectors.mean(0)
    # Singular values of many rows by the products of few columns (or the reverse): on a GPU these
    # are fast, a decomposition of the rows themselves is not.
    products = centred.T @ centred if len(vectors) > vectors.shape[1] else centred @ centred.T
    singular = torch.linalg.eigvalsh(products).clamp_min(0).sqrt()
    total = singular.sum()
    share = singular / total.clamp_min(torch.finfo(total.dtype).tiny)
    entropy = -torch.special.xlogy(share, share).sum()
    # The mean of equal rows is rounded: what is left of them is not a direction.
    rounding = len(vectors) * torch.finfo(given).eps * torch.linalg.matrix_norm(vectors)
    return torch.where(total > rounding, entropy.exp(), torch.zeros_like(total))


def collapse_metrics(tokens: Tensor, valid: Tensor | None = None) -> dict[str, float]:
    """Signs of collapse and of the position shortcut, from target-encoder tokens [B, N, D].

    Parameters
    ----------
    tokens : Tensor [B, N, D]
    valid : Tensor of bool [B, N], optional
        False where a token is of padding or of an ROI that a scan lacks; all are compared by
        default. Positions that are not valid in everybody are left out.

    Returns
    -------
    dict
        ``spread_people``, the standard deviation over people at a fixed position, and
        ``spread_positions``, over positions of a person; ``position_share``, the share of the
        tokens' variance that their position explains (analysis of variance; near 1, tokens say
        where they are and little else); ``rank_tokens``, the effective rank of a person's tokens
        (mean over the first 4 people), and ``rank_people``, that of mean-pooled people (at most
        B - 1). Empty where fewer than two positions are valid in everybody.

    Raises
    ------
    ValueError
        If there are fewer than two people.
    """
    if len(tokens) < 2:
        raise ValueError(
            f"expected at least 2 people to compare, found {len(tokens)}; use a larger batch"
        )
    tokens = tokens.float() if valid is None else tokens[:, valid.all(0)].float()
    if tokens.shape[1] < 2:
        return {}
    within = tokens.var(0).mean()  # unbiased: over people at a fixed position
    total = tokens.flatten(0, 1).var(0).mean()
    values = {
        "spread_people": within.sqrt(),
        "spread_positions": tokens.var(1).mean().sqrt(),
        "position_share": 1 - within / total.clamp_min(torch.finfo(total.dtype).tiny),
        "rank_tokens": torch.stack([effective_rank(person) for person in tokens[:FEW]]).mean(),
        "rank_people": effective_rank(tokens.mean(1)),
    }
    return {name: float(value) for name, value in values.items()}
