"""SwiFT against numbers of the published code, gradients too; its sizes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from golden import close, golden, load, wrong_gradients
from torch import Tensor

from brainjepa_core.models.swift.contrast import ContrastHead
from brainjepa_core.models.swift.network import Swift, SwiftPredictor
from brainjepa_core.models.swift.settings import SwiftSettings

NAMES = (
    (r"^patch_embed\.fc", "patch"),
    (r"^pos_embeds\.(\d)\.pos_embed", r"stages.\1.positions.places"),
    (r"^pos_embeds\.(\d)\.time_embed", r"stages.\1.positions.times"),
    (r"^layers\.", "stages."),
    (r"\.downsample\.", ".merging."),
    (r"\.mlp\.linear1", ".mlp.0"),
    (r"\.mlp\.linear2", ".mlp.2"),
)


def ours(name: str) -> str:
    for old, new in NAMES:
        name = re.sub(old, new, name)
    return name


def volumes(first: Tensor) -> Tensor:
    """The input that the numbers are of, by its formula."""
    n = 2 * 36**3 * 6
    i = np.arange(n, dtype=np.uint64)
    wrap = np.uint64(2**32 - 1)
    v = ((i + np.uint64(7 * 1000003)) * np.uint64(2654435761) + np.uint64(12345)) & wrap
    v ^= v >> np.uint64(15)
    v = (v * np.uint64(2246822519)) & wrap
    v ^= v >> np.uint64(13)
    x = torch.from_numpy((4 * (v / 2**32 - 0.5)).astype(np.float32))
    assert torch.equal(x[: len(first)], first)
    return x.reshape(2, 36, 36, 36, 6)


@pytest.fixture(scope="module")
def known() -> tuple[SwiftPredictor, ContrastHead, dict[str, Tensor], dict]:
    arrays, figures = golden("swift")
    c = figures["config"]
    settings = SwiftSettings(
        rois=1, volume=c["img_size"][:3], frames=c["img_size"][3], width=c["embed_dim"],
        depths=c["depths"], heads=c["num_heads"], hear_padding=True,
    )  # fmt: skip
    model = SwiftPredictor(settings, 1)
    weights = {}
    for name, array in arrays.items():
        if name.startswith("w.") and not name.startswith("w.norm."):
            table = name.endswith("_embed")  # [1, C, X, Y, Z, T]
            weights[ours(name[2:])] = array[0].movedim(0, -1) if table else array
    load(model.encoder, weights)
    load(model.head, {"weight": arrays["head.head.weight"], "bias": arrays["head.head.bias"]})
    head = ContrastHead(settings.features, len(arrays["emb.fc1.weight"]), norm="batch")
    names = {"emb.fc1.weight": "project.weight"}
    names |= {f"emb.bn1.{kind}": f"norm.{kind}" for kind in ("weight", "bias")}
    head.load_state_dict({own: arrays[name] for name, own in names.items()}, strict=False)
    return model, head, arrays, figures


def test_features(known):
    model, _, a, _ = known
    found = model.encoder(volumes(a["x_first"]))
    assert close(found.movedim(-1, 1), a["features"])


def test_outputs_and_gradients(known):
    model, head, a, figures = known
    x = volumes(a["x_first"])
    told, placed = model(x), head(model.encoder.pooled(x))
    assert close(told, torch.tensor(figures["clf"]))
    assert close(placed, torch.tensor(figures["embedding_train_mode_batchnorm"]))
    model.zero_grad()
    (told.sum() + placed[:, 0].sum()).backward()
    expected = figures["grad_norms"]
    assert wrong_gradients(model.encoder, expected, {n: (ours(n), None) for n in expected}) == {}
    assert len(expected) == sum(1 for _ in model.encoder.parameters())


@pytest.mark.parametrize(("preset", "width"), [("small", 24), ("base", 36), ("large", 48)])
def test_the_published_size(preset, width):
    _, figures = golden("swift")
    model = Swift(SwiftSettings(rois=1, **SwiftSettings.presets[preset]))
    unused = 2 * model.settings.features  # a norm that the published code keeps
    found = sum(p.numel() for p in model.parameters())
    assert found + unused == figures["counts"][f"embed_dim {width}"]
