"""Published Brain-JEPA checkpoints: read them, build a model from them, write them back.

The published files name the same arrays differently; this is the whole difference, for encoder
and target encoder (``ENCODER_NAMES``) and for the predictor (``PREDICTOR_NAMES``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.files import atomic_path
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import RECIPES, BrainJepaSettings
from brainjepa_core.models.parts.positions import sine_cosine_table
from brainjepa_core.problems import plainly

State = Mapping[str, Tensor]

ENCODER_NAMES = {  # published prefix: ours
    "patch_embed.proj.": "patch.",
    "pos_embed_proj.predictor_pos_embed_proj.": "positions.projection.",
}
PREDICTOR_NAMES = {
    "mask_token": "mask_token.weight",
    "predictor_embed.": "embed.",
    "predictor_2dpe_proj.predictor_pos_embed_proj.": "positions.projection.",
    "predictor_blocks.": "blocks.",
    "predictor_norm.": "norm.",
    "predictor_proj.": "head.",
}
TIME_TABLES = {
    "encoder": "pos_embed_proj.emb_h",
    "target_encoder": "pos_embed_proj.emb_h",
    "predictor": "predictor_2dpe_proj.emb_h",
}
PARTS = tuple(TIME_TABLES)
SIZE_GIVING = (  # arrays that the sizes of a model are read from
    ("encoder", "patch.weight"),
    ("encoder", "positions.projection.weight"),
    ("predictor", "embed.weight"),
)
HEAD_WIDTH = 64  # of every published encoder
PUBLISHED: dict[str, Any] = {
    "positions": "gradient",
    "position_scaling": "minmax",
    "position_scale": 1.0,
}


def _names(part: str) -> dict[str, str]:
    return PREDICTOR_NAMES if part == "predictor" else ENCODER_NAMES


def _rename(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if key.startswith(old):
            return new + key[len(old) :]
    return key


def _ours(state: State, part: str) -> dict[str, Tensor]:
    """Published state dict of one part, with or without ``module.``, under our names."""
    result = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key == TIME_TABLES[part]:
            continue  # a function of the settings, checked in `from_official`
        key = _rename(key, _names(part))
        if key in ("patch.weight", "mask_token.weight") and value.dim() > 2:
            value = value.flatten(1)
        result[key] = value
    return result


def _depth(state: State) -> int:
    return 1 + max((int(m[1]) for k in state if (m := re.match(r"blocks\.(\d+)\.", k))), default=-1)


def _settings(encoder: State, predictor: State, rois: int, table_rows: int) -> BrainJepaSettings:
    width, patch = encoder["patch.weight"].shape
    predictor_width, components = (
        predictor["embed.weight"].shape[0],
        encoder["positions.projection.weight"].shape[1],
    )
    if table_rows % rois:
        raise ValueError(
            f"expected a gradient whose number of rows divides the {table_rows} tokens of the "
            f"published time table, found {rois} rows; give the gradient of the same atlas"
        )
    return BrainJepaSettings(
        rois=rois,
        frames=table_rows // rois * patch,
        patch=patch,
        components=components,
        width=width,
        depth=_depth(encoder),
        heads=width // HEAD_WIDTH,
        predictor_width=predictor_width,
        predictor_depth=_depth(predictor),
        predictor_heads=width // HEAD_WIDTH,
        **{**RECIPES["published"], **PUBLISHED},
    )


def from_official(
    *, encoder: State, predictor: State, target_encoder: State, gradient: Any
) -> BrainJEPA:
    """Build a model from published state dicts.

    Parameters
    ----------
    encoder, predictor, target_encoder : mapping of str to Tensor
        State dicts with or without the ``module.`` prefix; all sizes are read from their shapes.
    gradient : array [R, m]
        Gradients of the ROIs: the published files do not hold them.

    Returns
    -------
    BrainJEPA
        In evaluation mode is not needed: the model has no dropout.

    Raises
    ------
    ValueError
        If arrays are missing, unknown or of another shape, or the time table is another one.
    """
    raw = {"encoder": encoder, "predictor": predictor, "target_encoder": target_encoder}
    states = {part: _ours(state, part) for part, state in raw.items()}
    basis = torch.as_tensor(gradient, dtype=torch.float32)
    for part, key in SIZE_GIVING:
        if key not in states[part] or states[part][key].dim() != 2:
            raise ValueError(
                f"expected a published {part} state dict, found no matrix that is its {key} "
                f"(first keys: {sorted(raw[part])[:3]}); pass checkpoint['{part}']"
            )
    tables = {
        part: state[key]
        for part, state in raw.items()
        for key in (TIME_TABLES[part], "module." + TIME_TABLES[part])
        if key in state
    }
    if "encoder" not in tables or tables["encoder"].dim() != 2:
        raise ValueError(
            f"expected the matrix '{TIME_TABLES['encoder']}' in the encoder's state dict, found "
            "none; pass the whole published state dict"
        )
    settings = _settings(
        states["encoder"], states["predictor"], basis.shape[0], tables["encoder"].shape[0]
    )
    for part, table in tables.items():
        _check_time_table(part, table, settings)
    model = BrainJEPA(settings, basis)
    for part, state in states.items():
        _load(getattr(model, part), state, part)
    return model


def _check_time_table(part: str, table: Tensor, settings: BrainJepaSettings) -> None:
    width = settings.predictor_width if part == "predictor" else settings.width
    expected = sine_cosine_table(settings.time_patches, width // 2).repeat(settings.rois, 1)
    if table.shape != expected.shape or (table.cpu() - expected).abs().max() > 1e-4:
        raise ValueError(
            f"expected the {part}'s time table to be sines and cosines of the time patch for "
            f"{settings.rois} ROIs x {settings.time_patches} patches, found other values; "
            "this file is not a Brain-JEPA checkpoint of that shape"
        )


def _load(module: torch.nn.Module, state: State, part: str) -> None:
    own = module.state_dict()
    wrong = sorted(
        set(own) ^ set(state) | {k for k in set(own) & set(state) if own[k].shape != state[k].shape}
    )
    if wrong:
        raise ValueError(
            f"expected the {len(own)} arrays of a published {part}, found {len(wrong)} missing, "
            f"unknown or of another shape ({', '.join(wrong[:3])}); pass the matching state dicts"
        )
    module.load_state_dict(state)


def read_official(path: str | Path) -> dict[str, Any]:
    """Read a published ``.pth.tar`` without running code from it.

    Returns
    -------
    dict
        With at least ``encoder``, ``predictor`` and ``target_encoder``; pass these to
        `from_official`.

    Raises
    ------
    ValueError
        If the file is no such checkpoint, or holds more than arrays and numbers.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            "expected a Brain-JEPA checkpoint (.pth.tar of arrays and numbers), found a file that "
            f"torch does not load with weights_only=True ({plainly(error)}); "
            "download it again, or convert it to plain state dicts where you trust it"
        ) from error
    missing = [p for p in PARTS if not isinstance(checkpoint, dict) or p not in checkpoint]
    if missing:
        raise ValueError(
            f"expected the keys {', '.join(PARTS)}, found {', '.join(missing)} missing; "
            "this is not a pretraining checkpoint"
        )
    return checkpoint


def read_published(path: str | Path, gradients: Any) -> BrainJEPA:
    """A model from a published ``.pth.tar`` and the gradients it was trained with.

    Parameters
    ----------
    path : path
    gradients : path or array [R, m]
        A CSV without a header, or its numbers.

    Raises
    ------
    ValueError
        If the checkpoint is none, or the gradients are not numbers in R rows that fit it.
    """
    if isinstance(gradients, str | Path):
        try:
            gradients = np.loadtxt(gradients, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"expected gradients as a CSV of numbers without a header, found "
                f"{plainly(error)} in '{Path(gradients).name}'; give one row an ROI"
            ) from error
    found = read_official(path)
    return from_official(**{part: found[part] for part in PARTS}, gradient=gradients)


def _told(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def to_official(model: BrainJEPA) -> dict[str, dict[str, Tensor]]:
    """Published names of a model's arrays: ``{"encoder": ..., "predictor": ..., ...}``.

    Raises
    ------
    ValueError
        If the model has a choice that the published code cannot compute.
    """
    found = {name: getattr(model.settings, name) for name in PUBLISHED}
    if found != PUBLISHED:
        raise ValueError(
            f"expected a model of the published arithmetic ({_told(PUBLISHED)}), found "
            f"{_told(found)}; published code would compute something else from these weights"
        )
    s = model.settings
    heads = (s.width // HEAD_WIDTH, s.width // HEAD_WIDTH)
    if (s.heads, s.predictor_heads) != heads:
        raise ValueError(
            f"expected {heads[0]} heads in encoder and predictor of width {s.width}, found "
            f"{s.heads} and {s.predictor_heads}; state dicts do not hold this number, and whoever "
            f"reads them would take {heads[0]}"
        )
    result = {}
    for part in PARTS:
        module = getattr(model, part)
        state = {}
        for key, value in module.state_dict().items():
            value = value.detach().clone()
            if key == "patch.weight":
                value = value[:, None, None, :]
            if key == "mask_token.weight":
                value = value[None]
            state[_rename(key, {ours: theirs for theirs, ours in _names(part).items()})] = value
        table = module.positions.time_table.repeat(s.rois, 1)
        state[TIME_TABLES[part]] = table.clone()
        result[part] = state
    return result


def write_official(model: BrainJEPA, path: str | Path) -> None:
    """Write a model as a published-style ``.pth.tar``; `read_official` reads it back."""
    with atomic_path(path) as temporary:
        torch.save(to_official(model), temporary)
