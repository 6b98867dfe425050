"""A naive step of Brain-JEPA, written from the description of the published model alone.

State dicts under the published names, a convolution as patch embedding, attention that builds the
whole softmax(QK'), every token through every block, one mask a sample, Python loops for the EMA.
It shares no code with ``brainjepa_core``: it is what parity is judged against, and what the
benchmark of the step compares with.

Shapes: B batch, R ROIs, T frames, p patch length, W = T / p, N = R * W tokens, D width, H heads.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def _block_shapes(prefix: str, depth: int, width: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(depth):
        for name, shape in {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }.items():
            shapes[f"{prefix}.{i}.{name}"] = shape
    return shapes


def encoder_shapes(
    width: int, depth: int, rois: int, time_patches: int, patch: int, components: int
) -> Shapes:
    """Published names and shapes of an encoder."""
    return {
        "patch_embed.proj.weight": (width, 1, 1, patch),
        "patch_embed.proj.bias": (width,),
        "pos_embed_proj.emb_h": (rois * time_patches, width // 2),
        "pos_embed_proj.predictor_pos_embed_proj.weight": (width // 2, components),
        "pos_embed_proj.predictor_pos_embed_proj.bias": (width // 2,),
        **_block_shapes("blocks", depth, width),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }


def predictor_shapes(
    encoder_width: int, width: int, depth: int, rois: int, time_patches: int, components: int
) -> Shapes:
    """Published names and shapes of a predictor."""
    return {
        "mask_token": (1, 1, width),
        "predictor_embed.weight": (width, encoder_width),
        "predictor_embed.bias": (width,),
        "predictor_2dpe_proj.emb_h": (rois * time_patches, width // 2),
        "predictor_2dpe_proj.predictor_pos_embed_proj.weight": (width // 2, components),
        "predictor_2dpe_proj.predictor_pos_embed_proj.bias": (width // 2,),
        **_block_shapes("predictor_blocks", depth, width),
        "predictor_norm.weight": (width,),
        "predictor_norm.bias": (width,),
        "predictor_proj.weight": (encoder_width, width),
        "predictor_proj.bias": (encoder_width,),
    }


def time_table(rois: int, time_patches: int, width: int) -> Tensor:
    """Sines then cosines of the time patch, for every token: [R * W, width]."""
    table = np.zeros((rois * time_patches, width))
    for token in range(rois * time_patches):
        for k in range(width // 2):
            angle = (token % time_patches) / 10000 ** (k / (width // 2))
            table[token, k], table[token, width // 2 + k] = math.sin(angle), math.cos(angle)
    return torch.tensor(table, dtype=torch.float32)


def recipe_normal(salt: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal array named by its salt, as the golden numbers were made (float64)."""
    seed = zlib.crc32(f"{salt}-{name}".encode()) & 0x7FFFFFFF
    return np.random.RandomState(seed).standard_normal(shape)


def recipe_state(salt: str, part: str, shapes: Shapes, time_patches: int) -> State:
    """Weights of one part ("encoder", "predictor", "target") by the recipe."""
    state = {}
    for key, shape in shapes.items():
        if key.endswith("emb_h"):
            state[key] = time_table(shape[0] // time_patches, time_patches, shape[1])
            continue
        array = recipe_normal(salt, f"{part}:{key}", tuple(shape)) * 0.02
        if key.endswith("norm.weight") or ".norm1.weight" in key or ".norm2.weight" in key:
            array = array + 1.0
        state[key] = torch.tensor(array.astype(np.float32))
    return state


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(x: Tensor, state: State, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def _attention(x: Tensor, state: State, name: str, heads: int, fused: bool) -> Tensor:
    batch, n, width = x.shape
    qkv = _linear(x, state, f"{name}.qkv").reshape(batch, n, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    if fused:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:
        mixed = ((q @ k.transpose(-2, -1)) * (width // heads) ** -0.5).softmax(dim=-1) @ v
    return _linear(mixed.transpose(1, 2).reshape(batch, n, width), state, f"{name}.proj")


def _blocks(x: Tensor, state: State, prefix: str, heads: int, fused: bool) -> Tensor:
    depth = 1 + max(int(k.split(".")[1]) for k in state if k.startswith(f"{prefix}."))
    for i in range(depth):
        name = f"{prefix}.{i}"
        x = x + _attention(_norm(x, state, f"{name}.norm1"), state, f"{name}.attn", heads, fused)
        hidden = F.gelu(_linear(_norm(x, state, f"{name}.norm2"), state, f"{name}.mlp.fc1"))
        x = x + _linear(hidden, state, f"{name}.mlp.fc2")
    return x


def positions(state: State, gradient: Tensor, name: str) -> Tensor:
    """Positions of all tokens [N, D]: time half, then the min-max scaled gradient half."""
    table = state[f"{name}.emb_h"]
    roi = _linear(gradient, state, f"{name}.predictor_pos_embed_proj")
    roi = 2 * (roi - roi.min()) / (roi.max() - roi.min()) - 1
    return torch.cat([table, roi.repeat_interleave(len(table) // len(roi), dim=0)], dim=1)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    return torch.stack([sample[rows] for sample, rows in zip(x, index, strict=True)])


@dataclass
class EagerJEPA:
    """Three published state dicts and the gradient matrix.

    Attributes
    ----------
    encoder, predictor, target_encoder : dict of str to Tensor
    gradient : Tensor [R, m]
    heads, predictor_heads : int
    fused : bool
        Attention by torch's ``scaled_dot_product_attention``, and the rest as it is: what a change
        of three lines makes of the published code.
    """

    encoder: State
    predictor: State
    target_encoder: State
    gradient: Tensor
    heads: int
    predictor_heads: int
    fused: bool = False

    def trained(self) -> list[Tensor]:
        """Arrays that the loss is differentiated by, set up to collect gradients."""
        return [
            value.requires_grad_()
            for state in (self.encoder, self.predictor)
            for key, value in state.items()
            if not key.endswith("emb_h")
        ]

    def encode(self, state: State, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Tokens of windows [B, R, T], all of them or those at `index` [B, Nc]."""
        weight = state["patch_embed.proj.weight"]
        patches = F.conv2d(
            x[:, None], weight, state["patch_embed.proj.bias"], stride=(1, weight.shape[-1])
        )
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = tokens + positions(state, self.gradient, "pos_embed_proj")
        if index is not None:
            tokens = _gather(tokens, index)
        return _norm(_blocks(tokens, state, "blocks", self.heads, self.fused), state, "norm")

    def targets(self, x: Tensor, target_index: Tensor) -> Tensor:
        """Layer-normed target-encoder tokens at the target indices."""
        with torch.no_grad():
            tokens = self.encode(self.target_encoder, x)
            return _gather(F.layer_norm(tokens, tokens.shape[-1:]), target_index)

    def predict(self, context: Tensor, context_index: Tensor, target_index: Tensor) -> Tensor:
        """Predicted latents [B, Nt, D]."""
        state = self.predictor
        place = positions(state, self.gradient, "predictor_2dpe_proj").expand(len(context), -1, -1)
        embedded = _linear(context, state, "predictor_embed") + _gather(place, context_index)
        masked = state["mask_token"] + _gather(place, target_index)
        x = torch.cat([embedded, masked], dim=1)
        x = _blocks(x, state, "predictor_blocks", self.predictor_heads, self.fused)
        x = _norm(x, state, "predictor_norm")[:, context_index.shape[1] :]
        return _linear(x, state, "predictor_proj")

    def loss(self, x: Tensor, context_index: Tensor, target_index: Tensor) -> Tensor:
        """Smooth L1 of one mask a sample, mean over everything."""
        target = self.targets(x, target_index)
        context = self.encode(self.encoder, x, context_index)
        return F.smooth_l1_loss(self.predict(context, context_index, target_index), target)

    @torch.no_grad()
    def after_step(self, momentum: float) -> None:
        """target <- momentum * target + (1 - momentum) * encoder, one array after the other."""
        for key, value in self.target_encoder.items():
            if not key.endswith("emb_h"):
                value.mul_(momentum).add_((1.0 - momentum) * self.encoder[key])
