"""Released weights of a BrainLM of pictures, as Hugging Face's ViT-MAE names them.

``pytorch_model.bin`` or ``model.safetensors``, with the ``config.json`` beside it where there is
one: state dicts hold neither heads nor frames. The weights are CC BY-NC-ND 4.0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from brainjepa_core.models.brainlm_picture.model import BrainLmPicture
from brainjepa_core.models.brainlm_picture.settings import BrainLmPictureSettings
from brainjepa_core.problems import plainly

NAMES = {  # published: ours
    "vit.embeddings.cls_token": "encoder.class_token.weight",
    "vit.embeddings.position_embeddings": "encoder.places",
    "vit.embeddings.patch_embeddings.projection.": "encoder.patch.",
    "vit.encoder.layer.": "encoder.blocks.",
    "vit.layernorm.": "encoder.norm.",
    "decoder.mask_token": "decoder.mask_token.weight",
    "decoder.decoder_pos_embed": "decoder.places",
    "decoder.decoder_embed.": "decoder.embed.",
    "decoder.decoder_layers.": "decoder.blocks.",
    "decoder.decoder_norm.": "decoder.norm.",
    "decoder.decoder_pred.": "decoder.head.",
    ".attention.output.dense.": ".attn.proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
}
QUERY = re.compile(r"\.attention\.attention\.query\.")
OF_THREE = ("query", "key", "value")
HEADS = {768: 12, 1024: 16, 1280: 16}  # of ViT-MAE's sizes, by width
DECODER_HEADS, FRAMES = 16, 200
TOLD = {  # by config.json: ours
    "num_timepoints_per_voxel": "frames",
    "num_attention_heads": "heads",
    "decoder_num_attention_heads": "decoder_heads",
}
PROJECTION = "vit.embeddings.patch_embeddings.projection.weight"
SIZE_GIVING = (
    PROJECTION,
    "vit.embeddings.position_embeddings",
    "vit.encoder.layer.0.intermediate.dense.weight",
    "decoder.decoder_embed.weight",
    "decoder.decoder_layers.0.intermediate.dense.weight",
)


def read_published(path: str | Path, gradients: Any) -> BrainLmPicture:
    """A model from released weights and the coordinates that its ROIs were sorted by.

    Parameters
    ----------
    path : path
        ``pytorch_model.bin`` or ``model.safetensors``.
    gradients : path or array [R, m]
        Centres of the ROIs in millimetres, whose second column is Y: a CSV without a header, or its
        numbers.

    Raises
    ------
    ValueError
        If the file is no such checkpoint, or the coordinates are none or do not fit it.
    """
    path = Path(path)
    state, told = _read(path), _config(path)
    missing = [name for name in SIZE_GIVING if name not in state]
    if missing:
        raise ValueError(
            f"expected a ViT-MAE's arrays, found none called {missing[0]} in '{path.name}'; give "
            "pytorch_model.bin or model.safetensors of vitmae_111M or vitmae_650M"
        )
    basis = _coordinates(gradients)
    settings = _settings(state, told, basis)
    if settings.tiles_a_side**2 + 1 != state[SIZE_GIVING[1]].shape[1]:
        side = settings.tile * (math.isqrt(state[SIZE_GIVING[1]].shape[1] - 1))
        raise ValueError(
            f"expected coordinates of the ROIs of pictures of {side} rows, found {len(basis)} "
            f"ROIs and {settings.frames} frames; give those of the checkpoint's atlas (A424)"
        )
    model = BrainLmPicture(settings, basis)
    own, arrays = model.state_dict(), _ours(state)
    arrays["basis"] = own["basis"]
    for part, table in (("encoder", model.encoder.places), ("decoder", model.decoder.places)):
        found = arrays.pop(f"{part}.places", None)
        if found is None or found.shape[1:] != table.shape or (found[0] - table).abs().max() > 1e-4:
            raise ValueError(
                f"expected the {part}'s table of places to be a ViT-MAE's sines and cosines of "
                f"{settings.tiles_a_side} x {settings.tiles_a_side} tiles, found another one or "
                "none; give the file as it was released"
            )
    wrong = sorted(
        name
        for name in own.keys() | arrays.keys()
        if name not in own or name not in arrays or own[name].numel() != arrays[name].numel()
    )
    if wrong:
        raise ValueError(
            f"expected the {len(own)} arrays of a ViT-MAE, found {len(wrong)} missing, unknown or "
            f"of another size ({', '.join(wrong[:3])}); give the file as it was released"
        )
    model.load_state_dict({name: arrays[name].reshape(own[name].shape) for name in own})
    return model


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"expected released weights (a state dict of arrays), found {plainly(error)} in "
            f"'{path.name}'; download the file again"
        ) from error


class _Told(NamedTuple):
    """What a config.json tells."""

    frames: int = FRAMES
    heads: int | None = None
    decoder_heads: int = DECODER_HEADS


def _config(path: Path) -> _Told:
    beside = path.with_name("config.json")
    if not beside.exists():
        return _Told()
    try:
        found = json.loads(beside.read_text())
        if not isinstance(found, dict):
            raise ValueError("no mapping")
        told = {field: int(found[name]) for name, field in TOLD.items() if name in found}
        if min(told.values(), default=1) < 1:
            raise ValueError("no sizes")
        return _Told(**told)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"expected the config.json of the released weights, found {plainly(error)}; download "
            "it again, or take it away"
        ) from error


def _coordinates(gradients: Any) -> Tensor:
    if isinstance(gradients, str | Path):
        try:
            gradients = np.loadtxt(gradients, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"expected coordinates as a CSV of numbers without a header, found "
                f"{plainly(error)} in '{Path(gradients).name}'; give one row an ROI"
            ) from error
    basis = torch.as_tensor(np.asarray(gradients), dtype=torch.float32)
    if basis.dim() != 2 or basis.shape[1] < 2:
        raise ValueError(
            f"expected coordinates (x, y, z) of each ROI, found shape {list(basis.shape)}; give a "
            "row an ROI"
        )
    return basis


def _settings(state: Mapping[str, Tensor], told: _Told, basis: Tensor) -> BrainLmPictureSettings:
    width, _, tile, _ = state[PROJECTION].shape
    heads = HEADS.get(width) if told.heads is None else told.heads
    if heads is None:
        raise ValueError(
            f"expected config.json beside weights of width {width}, which is of no released size "
            f"({', '.join(map(str, HEADS))}), found none; put it there"
        )
    return BrainLmPictureSettings(
        rois=len(basis),
        components=basis.shape[1],
        frames=told.frames,
        patch=math.gcd(tile, told.frames),
        tile=tile,
        width=width,
        depth=_depth(state, "vit.encoder.layer"),
        heads=heads,
        decoder_width=len(state["decoder.decoder_embed.weight"]),
        decoder_depth=_depth(state, "decoder.decoder_layers"),
        decoder_heads=told.decoder_heads,
        mlp_ratio=len(state[SIZE_GIVING[2]]) / width,
    )


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    layers = (re.match(rf"{re.escape(part)}\.(\d+)\.", name) for name in state)
    return 1 + max(int(found[1]) for found in layers if found)


def _ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released arrays under our names; queries, keys and values are one array."""
    found = {}
    for name, value in state.items():
        if re.search(r"\.attention\.attention\.(key|value)\.", name):
            continue
        if QUERY.search(name):
            three = [name.replace(".query.", f".{part}.") for part in OF_THREE]
            if any(part not in state for part in three):
                continue
            value = torch.cat([state[part] for part in three])
            name = QUERY.sub(".attn.qkv.", name)
        for old, new in NAMES.items():
            name = name.replace(old, new)
        found[name] = value
    return found
