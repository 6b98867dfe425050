"""BrainLM against numbers of the published code, gradients too; its size."""

from __future__ import annotations

import re

import pytest
import torch
from golden import close, golden, load, wrong_gradients
from torch import Tensor

from brainjepa_core.models.brainlm.model import BrainLM
from brainjepa_core.models.brainlm.settings import BrainLmSettings

NAMES = {
    "attention.self.conv.": "attn.neighbours.",
    "attention.output.dense.": "attn.proj.",
    "attention.output.LayerNorm.": "norm1.",
    "intermediate.dense.": "fc1.",
    "output.dense.": "fc2.",
    "output.LayerNorm.": "norm2.",
    "vit.embeddings.cls_token": "encoder.class_token.weight",
    "vit.embeddings.signal_embedding_projection.": "encoder.patch.",
    "vit.embeddings.xyz_embedding_projection.": "encoder.places.projection.",
    "vit.encoder.layer.": "encoder.blocks.",
    "vit.layernorm.": "encoder.norm.",
    "decoder.decoder_layers.": "decoder.blocks.",
    "decoder.mask_token": "decoder.mask_token.weight",
    "decoder.decoder_embed.": "decoder.embed.",
    "decoder.decoder_norm.": "decoder.norm.",
    "decoder.decoder_xyz_projection.": "decoder.places.projection.",
    "decoder.decoder_pred1.": "decoder.fc1.",
    "decoder.decoder_pred2.": "decoder.fc2.",
}
THREE = re.compile(r"attention\.self\.(query|key|value)\.")
WIDTH = 32


def ours(name: str) -> tuple[str, slice | None]:
    """Our name, and rows of it where ours is queries, keys and values in one."""
    rows = None
    if found := THREE.search(name):
        first = WIDTH * ("query", "key", "value").index(found[1])
        rows, name = slice(first, first + WIDTH), THREE.sub("attn.qkv.", name)
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name, rows


@pytest.fixture(scope="module")
def known() -> tuple[BrainLM, dict[str, Tensor], dict]:
    arrays, figures = golden("brainlm")
    c = figures["config"]
    settings = BrainLmSettings.preset(
        "tiny", rois=c["num_brain_voxels"], recipe="published",
        frames=c["num_timepoints_per_voxel"], patch=c["timepoint_patching_size"], components=3,
        width=c["hidden_size"], depth=c["num_hidden_layers"], heads=c["num_attention_heads"],
        decoder_width=c["decoder_hidden_size"], decoder_depth=c["decoder_num_hidden_layers"],
        decoder_heads=c["decoder_num_attention_heads"],
        mlp_ratio=c["intermediate_size"] / c["hidden_size"], mask_ratio=c["mask_ratio"],
    )  # fmt: skip
    model = BrainLM(settings, arrays["xyz"][0])
    weights: dict[str, Tensor] = {"basis": model.basis}
    parts: dict[str, list[Tensor]] = {}
    for name, value in arrays.items():
        if name.startswith("w.") and "decoder_pred." not in name:
            own, rows = ours(name.removeprefix("w."))
            if rows is None:
                weights[own] = value
            else:
                parts.setdefault(own, []).append(value)
    load(model, weights | {name: torch.cat(three) for name, three in parts.items()})
    return model, arrays, figures


def test_latents_signal_loss_and_gradients(known):
    model, a, figures = known
    model.zero_grad()
    order = a["noise"].argsort(dim=1)
    visible, hidden = order[:, :12], order[:, 12:]
    patches = model.patches(a["x"])
    states = model.encoder.states(patches, a["xyz"], visible)
    assert close(model.encoder.norm(states), a["latent"])
    signal = model.decoder(model.encoder.norm(states), a["xyz"], visible)
    assert close(signal.reshape(a["logits"].shape), a["logits"])
    model.basis_of = lambda batch: a["xyz"]  # their batch has other coordinates for each person
    loss = model(a["x"], visible, hidden).mean()
    assert close(loss, figures["loss"])
    loss.backward()
    theirs = {name: ours(name) for name in figures["grad_norms"]}
    assert wrong_gradients(model, figures["grad_norms"], theirs) == {}
    assert len(theirs) == 69


def test_the_released_size():
    _, figures = golden("brainlm")
    settings = BrainLmSettings.preset(
        "released", rois=424, recipe="published", frames=200, components=3
    )
    assert settings.tokens == 4240
    model = BrainLM(settings, torch.zeros(424, 3))
    expected = figures["counts"]["released 13M config (checkpoint 2023-06-06)"]
    total = sum(p.numel() for p in model.parameters())
    assert total == expected["total"] - expected["never_used"]
    assert sum(p.numel() for p in model.encoder.parameters()) == expected["encoder"]
