"""CSM against numbers that GPT-2 and an embedding of others give, gradients too; its size."""

from __future__ import annotations

import pytest
import torch
from golden import close, golden, load, wrong_gradients
from torch import Tensor

from brainjepa_core.models.csm.model import CSM
from brainjepa_core.models.csm.settings import CsmSettings

NAMES = {
    "gpt.wpe.weight": "places.weight",
    "gpt.ln_f.": "norm.",
    "gpt.h.": "blocks.",
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "attn.c_attn.": "attn.qkv.",
    "attn.c_proj.": "attn.proj.",
    "mlp.c_fc.": "fc1.",
    "mlp.c_proj.": "fc2.",
}
OTHERS = {
    "emb_w": "embed.weight",
    "emb_b": "embed.bias",
    "emb_ln_w": "norm_of_embedded.weight",
    "emb_ln_b": "norm_of_embedded.bias",
    "un_w": "unembed.weight",
    "un_b": "unembed.bias",
    "pool_w": "pooler.weight",
    "pool_b": "pooler.bias",
    "cls_embed": "class_frame.weight",
}


def ours(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return OTHERS.get(name, name)


def weights_of(arrays: dict[str, Tensor], model: CSM) -> dict[str, Tensor]:
    unread = ("gpt.wte.weight", "tr_", "x", "t_rs", "reconstruction", "pooled", "mask_embed")
    found = {}
    for name, value in arrays.items():
        if not name.startswith(unread):
            turned = name.startswith("gpt.h.") and value.dim() == 2  # [inputs, outputs]
            found[f"encoder.{ours(name)}"] = value.T if turned else value
    times = torch.zeros_like(model.encoder.times.weight)
    times[:200], times[-1] = arrays["tr_embedding_first_200"], arrays["tr_embedding_dummy"]
    found |= {"encoder.times.weight": times, "mask_frame.weight": arrays["mask_embed"]}
    return {**found, "basis": model.basis}


def model_at(tr: float, arrays: dict[str, Tensor], figures: dict) -> CSM:
    c = figures["config"]
    settings = CsmSettings.preset(
        "tiny", rois=c["in_dim"], recipe="published", frames=c["frames"], patch=1, components=2,
        tr=tr, width=c["embed"], depth=c["layers"], heads=c["heads"], places=c["n_positions"],
    )  # fmt: skip
    model = CSM(settings, torch.zeros(c["in_dim"], 2))
    load(model, weights_of(arrays, model))
    return model


def test_times_loss_gradients_and_the_pooled_state():
    """Sequences of three repetition times: a model each, whose gradients add up."""
    arrays, figures = golden("csm")
    total: dict[str, Tensor] = {}
    losses = []
    for row, (tr, masked, length) in enumerate(
        zip(figures["tr"], figures["masked_index"], figures["lengths"], strict=True)
    ):
        model = model_at(tr, arrays, figures)
        assert model.encoder.time_ids[:length].tolist() == figures["tr_positions"][row][:length]
        frames, index = arrays["x"][row : row + 1], torch.tensor([masked])
        back = model.filled_in(frames, index)
        assert close(back[0], arrays["reconstruction"][row, masked])
        loss = model.sample_losses(frames.mT, index)
        assert torch.equal(loss, (back - frames[:, masked]).abs().mean(1))
        (loss.sum() / len(arrays["x"])).backward()
        losses.append(loss.item())
        for name, p in model.named_parameters():
            if p.grad is not None:
                total[name] = total.get(name, torch.zeros(())) + p.grad
        pooled = model.encoder.pooled(frames, torch.tensor([length]))
        assert close(pooled[0], arrays["pooled"][row])
        with torch.no_grad():
            state = model.filled_in(frames[:, : masked + 1], index)
        assert torch.allclose(state, back, atol=1e-6)  # what comes after is not read
    assert close(sum(losses) / 3, figures["l1_loss"])
    for name, p in model.named_parameters():
        p.grad = total.get(name)
    theirs = {name: (f"encoder.{ours(f'gpt.{name}')}", None) for name in figures["grad_norms"]}
    assert wrong_gradients(model, figures["grad_norms"], theirs) == {}
    assert len(theirs) == 27
    assert close(model.mask_frame.weight.grad.norm(), figures["grad_mask_embed"])


def test_the_released_size():
    _, figures = golden("csm")
    settings = CsmSettings.preset(
        "base", rois=1024, recipe="published", frames=50, patch=1, components=2, tr=2.0
    )
    model = CSM(settings, torch.zeros(1024, 2))

    def of(*parts: str) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith(parts))

    words = settings.width  # GPT-2's table of words, of one row, that no CSM reads
    found = {
        "gpt": of("encoder.blocks.", "encoder.norm.", "encoder.places.") + words,
        "embed": of("encoder.embed.", "encoder.norm_of_embedded."),
        "tr_embedding": of("encoder.times."),
        "unembed": of("encoder.unembed."),
        "pooler": of("encoder.pooler."),
        "mask_and_cls": of("mask_frame.", "encoder.class_frame."),
        "total": of("") + words,
    }
    assert found == figures["counts_released"]


@pytest.mark.parametrize(("tr", "last"), [(0.72, 1490), (0.735, 1499), (2.0, 1490), (3.0, 1485)])
def test_windows_end_within_the_table_of_times(tr, last):
    frames = int(last * 0.2 / tr) + 1
    settings = CsmSettings.preset("tiny", rois=3, recipe="published", frames=frames, patch=1, tr=tr)
    assert settings.rows_of_time == 1500 and settings.time_of(frames - 1) <= 1499
    with pytest.raises(
        ValueError, match=r"expected windows of less than 300.0 s \(model.longest\)"
    ):
        CsmSettings.preset(
            "tiny", rois=3, recipe="published", frames=int(301 / tr) + 1, patch=1, tr=tr
        )
