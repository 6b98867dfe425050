"""Floating point operations of a pretraining step, counted in matrix products.

A multiply-add counts as two. A product of [n, i] and [i, o] costs ``2 n i o``; its backward pass
twice that, or once where its input needs no gradient. Attention of q queries to n keys costs
``4 q n D``, its backward pass twice that: a kernel that computes the scores again does more work
than is counted here, so that utilisation is of useful work.
"""

from __future__ import annotations

from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings


def linear_flops(rows: int, inputs: int, outputs: int) -> float:
    """Forward pass of a linear layer."""
    return 2.0 * rows * inputs * outputs


def blocks_flops(depth: int, width: int, mlp_ratio: float, tokens: int, wanted: int) -> float:
    """Forward pass of a stack of blocks, of whose output `wanted` tokens are read."""
    total = 0.0
    hidden = int(width * mlp_ratio)
    for block in range(depth):
        queries = tokens if block < depth - 1 else wanted
        total += linear_flops(tokens, width, 3 * width) + 4.0 * queries * tokens * width
        total += linear_flops(queries, width, width) + 2 * linear_flops(queries, width, hidden)
    return total


def step_flops(
    s: BrainJepaSettings,
    n_context: int,
    n_target: int,
    *,
    batch: int,
    masks: int = 1,
    skip_unread: bool = True,
) -> dict[str, float]:
    """Operations of a step, by part.

    Parameters
    ----------
    s : BrainJepaSettings
    n_context, n_target : int
        Tokens of one mask.
    batch : int
        Samples of the step.
    masks : int
        Masks that share one target pass.
    skip_unread : bool
        Whether the last blocks leave out the tokens nobody reads (the eager step computes them).

    Returns
    -------
    dict of str to float
        "target encoder" (forward), "context encoder" and "predictor" (forward and backward);
        what the objective adds (the target encoder's pass over one blank window a step, the
        moments of context tokens) is counted with the encoder that it runs through.
    """
    read = min(n_target * masks, s.tokens) if skip_unread else s.tokens
    embedding = linear_flops(s.tokens, s.patch, s.width) + _position_flops(s, s.width)
    target = batch * (embedding + blocks_flops(s.depth, s.width, s.mlp_ratio, s.tokens, read))
    if s.objective.remove_position:
        target += embedding + blocks_flops(s.depth, s.width, s.mlp_ratio, s.tokens, s.tokens)
    # Neither patches nor basis need a gradient: backward costs these as much as forward.
    context = 2 * masks * linear_flops(n_context, s.patch, s.width)
    context += 2 * _position_flops(s, s.width)
    context += 3 * masks * blocks_flops(s.depth, s.width, s.mlp_ratio, n_context, n_context)
    if s.objective.holds_rank:
        context += 3 * masks * linear_flops(n_context, s.width, s.width)
    width, joined = s.predictor_width, n_context + n_target
    predictor = 3 * masks * linear_flops(n_context, s.width, width)
    predictor += 2 * _position_flops(s, width)
    predictor += 3 * masks * linear_flops(n_target, width, s.width)
    predictor += (
        3
        * masks
        * blocks_flops(
            s.predictor_depth, width, s.mlp_ratio, joined, n_target if skip_unread else joined
        )
    )
    return {
        "target encoder": target,
        "context encoder": batch * context,
        "predictor": batch * predictor,
    }


def _position_flops(s: BrainJepaSettings, width: int) -> float:
    """Forward pass of the projection of the basis."""
    return 0.0 if s.positions == "sincos" else linear_flops(s.rois, s.components, width // 2)
