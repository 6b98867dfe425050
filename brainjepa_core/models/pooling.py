"""From the tokens of a scan to one vector: the published mean, and second-order pools.

Signals are z-scored, so the mean over tokens of nearly linear features is nearly the same for
everyone. What differs between people is how tokens vary together; second-order pools show it.

Shapes: B batch, R ROIs, W time patches, N = R * W tokens, D width, G networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SECOND_ORDER = ("std", "time_std", "network_covariance")  # the last one needs networks
POOLS = ("mean", *SECOND_ORDER)
GROUP_POOLS = ("network_mean", "roi_mean")  # wide: a mean token of each network or ROI


def pool_names(pool: str | Sequence[str], networks: Tensor | None) -> tuple[str, ...]:
    """Pools meant by a name, several names, or "second_order" (all that `networks` allow)."""
    if pool == "second_order":
        return SECOND_ORDER if networks is not None else SECOND_ORDER[:2]
    return (pool,) if isinstance(pool, str) else tuple(pool)


def pool_tokens(
    tokens: Tensor,
    time_patches: int,
    pools: Sequence[str] = ("mean",),
    token_valid: Tensor | None = None,
    networks: Tensor | None = None,
    *,
    still: bool = False,
) -> Tensor:
    """Pool tokens [B, N, D] of a window to one vector.

    Parameters
    ----------
    tokens : Tensor [B, N, D]
    time_patches : int
        W.
    pools : sequence of str
        Of `POOLS` and `GROUP_POOLS`:
        ``mean`` over tokens (published); ``std`` over tokens; ``time_std``, the spread in time of
        the mean over ROIs; ``network_covariance``, the covariance over time and features of the
        networks' mean tokens; ``network_mean`` and ``roi_mean``, the mean token of each network or
        ROI, which is that of all tokens where it has no valid one. Several are joined in the order
        given.
    token_valid : Tensor [B, N], optional
        bool; invalid tokens count nowhere.
    networks : Tensor [R], optional
        int64 network of each ROI, 0 .. G-1; needed by the pools by network.

    still : bool
        Tokens of an ROI are the same at all times (`ModelShape.still`): networks then vary together
        about zero, since about their mean over time they do not vary.

    Returns
    -------
    Tensor [B, D per vector pool + G(G+1)/2 for the network covariance + G D or R D for means]

    Raises
    ------
    ValueError
        If a pool is unknown, or networks are needed and missing.
    """
    valid = torch.ones(tokens.shape[:2], device=tokens.device, dtype=tokens.dtype)
    if token_valid is not None:
        valid = token_valid.to(tokens.dtype)
    parts = []
    for pool in pools:
        if pool == "mean":
            parts.append(_mean(tokens, valid))
        elif pool == "std":
            parts.append(_std(tokens, valid))
        elif pool == "time_std":
            per_time, seen = _group_by_time(tokens, valid, time_patches)
            parts.append(_std(per_time, seen))
        elif pool == "network_covariance":
            labels = _require_networks(networks, pool)
            parts.append(_network_covariance(tokens, valid, time_patches, labels, still))
        elif pool == "network_mean":
            groups = _require_networks(networks, pool).repeat_interleave(time_patches)
            parts.append(_group_means(tokens, valid, groups))
        elif pool == "roi_mean":
            groups = torch.arange(tokens.shape[1], device=tokens.device) // time_patches
            parts.append(_group_means(tokens, valid, groups))
        else:
            known = ", ".join((*POOLS, *GROUP_POOLS))
            raise ValueError(f"expected pools among {known}, found '{pool}'; take one of these")
    return torch.cat(parts, dim=1)


def _require_networks(networks: Tensor | None, pool: str) -> Tensor:
    if networks is None:
        raise ValueError(
            f"expected the network of each ROI for the pool '{pool}', found none; "
            "take an atlas with networks or leave this pool out"
        )
    return networks


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over axis 1 of [B, n, D]."""
    return (x * weight[..., None]).sum(1) / weight.sum(1).clamp_min(1)[:, None]


def _std(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - _mean(x, weight)[:, None]
    return _mean(centred.square(), weight).clamp_min(0).sqrt()


def _group_by_time(tokens: Tensor, valid: Tensor, time_patches: int) -> tuple[Tensor, Tensor]:
    """Mean over ROIs per time patch [B, W, D], and which time patches were seen [B, W]."""
    weight = valid.unflatten(1, (-1, time_patches))
    total = (tokens.unflatten(1, (-1, time_patches)) * weight[..., None]).sum(1)
    count = weight.sum(1)
    return total / count.clamp_min(1)[..., None], (count > 0).to(tokens.dtype)


def _group_means(tokens: Tensor, valid: Tensor, groups: Tensor) -> Tensor:
    """Mean token of each group, side by side [B, groups * D]; `groups` [N] is each token's."""
    number = int(groups.max()) + 1
    shape = (len(tokens), number)
    total = tokens.new_zeros(*shape, tokens.shape[-1])
    total = total.index_add(1, groups, tokens * valid[..., None])
    count = tokens.new_zeros(shape).index_add(1, groups, valid)[..., None]
    # Zeros would be far from every real mean, since positions are a large part of a token.
    means = torch.where(count > 0, total / count.clamp_min(1), _mean(tokens, valid)[:, None])
    return means.flatten(1)


def _network_covariance(
    tokens: Tensor, valid: Tensor, time_patches: int, networks: Tensor, still: bool
) -> Tensor:
    one_hot = F.one_hot(networks).to(tokens.dtype)  # [R, G]
    weight = valid.unflatten(1, (-1, time_patches))  # [B, R, W]
    by_roi = tokens.unflatten(1, (-1, time_patches)) * weight[..., None]
    total = torch.einsum("brwd,rg->bgwd", by_roi, one_hot)
    count = torch.einsum("brw,rg->bgw", weight, one_hot)
    mean = total / count.clamp_min(1)[..., None]
    seen = (count > 0).to(tokens.dtype)[..., None]
    centre = (mean * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True).clamp_min(1)
    centred = (mean if still else mean - centre) * seen
    both_seen = torch.einsum("bgwd,bhwd->bgh", seen, seen)
    covariance = torch.einsum("bgwd,bhwd->bgh", centred, centred)
    covariance = covariance / (both_seen * tokens.shape[-1]).clamp_min(1)
    rows, columns = torch.triu_indices(one_hot.shape[1], one_hot.shape[1])
    return covariance[:, rows, columns]
