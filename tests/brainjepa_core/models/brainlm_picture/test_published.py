"""Released weights of pictures, on made files of the same names: layout, network, loss by hand."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import brainjepa
from brainjepa_core.models.brainlm_picture.model import UNIT, BrainLmPicture
from brainjepa_core.models.brainlm_picture.published import read_published
from brainjepa_core.models.brainlm_picture.settings import BrainLmPictureSettings

ROIS, FRAMES, TILE, SIDE, WIDTH, SMALL, HEADS = 10, 14, 4, 4, 12, 8, 2
COORDINATES = np.random.default_rng(0).uniform(-70, 70, (ROIS, 3)).astype(np.float32)
CONFIG = {
    "num_attention_heads": HEADS,
    "decoder_num_attention_heads": HEADS,
    "num_timepoints_per_voxel": FRAMES,
}


def layer(name: str, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("query", "key", "value"):
        shapes[f"{name}.attention.attention.{part}"] = (width, width)
    shapes[f"{name}.attention.output.dense"] = (width, width)
    shapes[f"{name}.intermediate.dense"] = (2 * width, width)
    shapes[f"{name}.output.dense"] = (width, 2 * width)
    shapes[f"{name}.layernorm_before"] = shapes[f"{name}.layernorm_after"] = (width,)
    return shapes


def released() -> dict[str, Tensor]:
    """A state dict with the names and shapes of a released one, and small sizes."""
    weights = {
        "vit.embeddings.patch_embeddings.projection": (WIDTH, 3, TILE, TILE),
        **layer("vit.encoder.layer.0", WIDTH),
        **layer("vit.encoder.layer.1", WIDTH),
        "vit.layernorm": (WIDTH,),
        "decoder.decoder_embed": (SMALL, WIDTH),
        **layer("decoder.decoder_layers.0", SMALL),
        "decoder.decoder_norm": (SMALL,),
        "decoder.decoder_pred": (TILE * TILE * 3, SMALL),
    }
    chance = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in weights.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=chance) * 0.3
        state[f"{name}.bias"] = torch.randn(shape[0], generator=chance) * 0.3
    alone = {"vit.embeddings.cls_token": (1, 1, WIDTH), "decoder.mask_token": (1, 1, SMALL)}
    state |= {name: torch.randn(shape, generator=chance) for name, shape in alone.items()}
    places = {
        "vit.embeddings.position_embeddings": places_of(WIDTH),
        "decoder.decoder_pos_embed": places_of(SMALL),
    }
    return state | places


def places_of(width: int) -> Tensor:
    """MAE's table, number by number: sines and cosines of the column, then of the row."""
    table = torch.zeros(1, SIDE**2 + 1, width)
    quarter = width // 4
    for tile in range(SIDE**2):
        for half, place in enumerate((tile % SIDE, tile // SIDE)):
            for k in range(quarter):
                angle = place / 10000 ** (k / quarter)
                first = half * width // 2 + k
                table[0, 1 + tile, first] = np.sin(angle)
                table[0, 1 + tile, first + quarter] = np.cos(angle)
    return table


class ByHand:
    """The released network from its own names: what is fed and what comes out, one by one."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.w = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, 1e-12)

    def layer(self, name: str, x: Tensor) -> Tensor:
        y = self.norm(f"{name}.layernorm_before", x)
        q, k, v = (
            self.linear(f"{name}.attention.attention.{part}", y).unflatten(-1, (HEADS, -1))
            for part in ("query", "key", "value")
        )
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)
        x = x + self.linear(f"{name}.attention.output.dense", mixed)
        y = F.gelu(
            self.linear(f"{name}.intermediate.dense", self.norm(f"{name}.layernorm_after", x))
        )
        return x + self.linear(f"{name}.output.dense", y)

    def picture(self, x: Tensor) -> Tensor:
        whole = torch.full((3, SIDE * TILE, SIDE * TILE), -1.0)
        for row, roi in enumerate(np.argsort(COORDINATES[:, 1], kind="stable")):
            whole[:, row, :FRAMES] = x[roi] / UNIT
        return whole

    def encoded(self, x: Tensor, seen: list[int]) -> Tensor:
        name = "vit.embeddings.patch_embeddings.projection"
        grid = F.conv2d(self.picture(x), self.w[f"{name}.weight"], self.w[f"{name}.bias"], TILE)
        places = self.w["vit.embeddings.position_embeddings"][0]
        tiles = grid.flatten(1).T + places[1:]
        h = torch.cat([self.w["vit.embeddings.cls_token"][0] + places[:1], tiles[seen]])
        for depth in range(2):
            h = self.layer(f"vit.encoder.layer.{depth}", h)
        return self.norm("vit.layernorm", h)

    def loss(self, x: Tensor, seen: list[int]) -> Tensor:
        told = self.linear("decoder.decoder_embed", self.encoded(x, seen))
        grid = self.w["decoder.mask_token"][0].repeat(SIDE**2, 1)
        grid[seen] = told[1:]
        h = torch.cat([told[:1], grid]) + self.w["decoder.decoder_pos_embed"][0]
        h = self.layer("decoder.decoder_layers.0", h)
        back = self.linear("decoder.decoder_pred", self.norm("decoder.decoder_norm", h))[1:]
        picture, errors = self.picture(x), []
        for tile in set(range(SIDE**2)) - set(seen):
            rows, columns = divmod(tile, SIDE)
            drawn = back[tile].reshape(TILE, TILE, 3)
            for i in range(TILE):
                for j in range(TILE):
                    row, column = rows * TILE + i, columns * TILE + j
                    if row < ROIS and column < FRAMES:
                        errors.append((drawn[i, j] - picture[:, row, column]).square().mean())
        return torch.stack(errors).mean()


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def file(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".bin":
        torch.save(released(), path)
    else:
        save_file(released(), path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return path


def test_tokens_are_the_tiles_of_the_released_network(file):
    model, hand = read_published(file, COORDINATES), ByHand(released())
    assert model.settings.patch == 2 and model.settings.tiles_a_side == SIDE
    x = torch.randn(2, ROIS, FRAMES)
    tokens = model.encode(x).unflatten(1, (ROIS, FRAMES // 2))
    ranks = COORDINATES[:, 1].argsort(kind="stable").argsort()
    for person in range(2):
        states = hand.encoded(x[person], list(range(SIDE**2)))[1:]
        for roi in range(ROIS):
            for time in range(FRAMES // 2):
                tile = ranks[roi] // TILE * SIDE + time * 2 // TILE
                found = tokens[person, roi, time]
                assert torch.allclose(found, states[tile], atol=1e-5), (roi, time)


def test_the_loss_is_that_of_hidden_signal(file):
    model, hand = read_published(file, COORDINATES), ByHand(released())
    x = torch.randn(2, ROIS, FRAMES)
    order = torch.stack([torch.randperm(SIDE**2) for _ in range(2)])
    found = model(x, order[:, :5], order[:, 5:])
    expected = [hand.loss(x[i], order[i, :5].tolist()) for i in range(2)]
    assert torch.allclose(found, torch.stack(expected), rtol=1e-5)


def test_it_is_loaded_and_embeds(file, tmp_path):
    np.savetxt(tmp_path / "xyz.csv", COORDINATES, delimiter=",")
    windows = brainjepa.WindowSettings(frames=FRAMES, tr=0.735)
    model = brainjepa.load(
        file, gradients=tmp_path / "xyz.csv", windows=windows, family="brainlm_picture"
    )
    series = np.random.default_rng(0).standard_normal((ROIS, 60))
    assert np.isfinite(model.embed(series, tr=0.735, pool="mean")).all()
    assert np.isfinite(model.embed(series, tr=0.735)).all()


def test_what_is_no_such_file_is_told(file, tmp_path):
    cases = {
        "expected coordinates of the ROIs of pictures of 16 rows, found 20": COORDINATES.repeat(
            2, 0
        ),
        r"expected coordinates \(x, y, z\) of each ROI, found shape \[10\]; give": COORDINATES[
            :, 0
        ],
    }
    for text, places in cases.items():
        with pytest.raises(ValueError, match=text):
            read_published(file, places)
    (tmp_path / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"config\.json beside weights of width 12, which is of no"
    ):
        read_published(file, COORDINATES)
    for name, value in itertools.product(CONFIG, (None, "many", 0, 1e999)):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, name: value}))
        with pytest.raises(ValueError, match=r"^expected the config\.json of the released weights"):
            read_published(file, COORDINATES)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(b"nothing")
    with pytest.raises(
        ValueError, match=r"expected released weights .* in 'damaged.bin'; download"
    ):
        read_published(damaged, COORDINATES)
    short = {k: v for k, v in released().items() if "value" not in k}
    torch.save(short, tmp_path / "short.bin")
    with pytest.raises(ValueError, match=r"the \d+ arrays of a ViT-MAE, found 6 missing, unknown"):
        read_published(tmp_path / "short.bin", COORDINATES)
    turned = released()
    turned["decoder.decoder_pos_embed"] = -turned["decoder.decoder_pos_embed"]
    torch.save(turned, tmp_path / "turned.bin")
    with pytest.raises(ValueError, match="the decoder's table of places to be a ViT-MAE's sines"):
        read_published(tmp_path / "turned.bin", COORDINATES)
    bare = {k: v for k, v in released().items() if not k.startswith("decoder.decoder_layers.")}
    torch.save(bare, tmp_path / "bare.bin")
    with pytest.raises(ValueError, match=r"arrays, found none called decoder\.decoder_layers\.0\."):
        read_published(tmp_path / "bare.bin", COORDINATES)
    torch.save({"vit": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(ValueError, match=r"a ViT-MAE's arrays, found none called vit.embed"):
        read_published(tmp_path / "other.bin", COORDINATES)


@pytest.mark.parametrize(("size", "encoder", "total"), [("base", 86.2, 112.6)])
def test_the_released_sizes(size, encoder, total):
    settings = BrainLmPictureSettings.preset(size, rois=424, frames=200)
    assert settings.tiles_a_side**2 == 729
    model = BrainLmPicture(settings, torch.zeros(424, 3))
    places = model.encoder.places.numel(), model.decoder.places.numel()
    numbers = sum(p.numel() for p in model.encoder.parameters()) + places[0]
    assert round(numbers / 1e6, 1) == encoder
    assert round((sum(p.numel() for p in model.parameters()) + sum(places)) / 1e6, 1) == total


def test_a_tile_holds_whole_tokens():
    with pytest.raises(
        ValueError, match="expected patch to divide tile, found patch 5 and tile 16"
    ):
        BrainLmPictureSettings.preset("tiny", rois=3, frames=20, patch=5)
