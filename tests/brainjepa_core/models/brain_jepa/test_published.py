"""Published checkpoint files: read, checked, written back; never run."""

from __future__ import annotations

import functools
import os
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.eager_jepa import encoder_shapes, predictor_shapes

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import (
    PARTS,
    from_official,
    read_official,
    to_official,
    write_official,
)
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings


def make(**choices) -> BrainJEPA:
    sizes = dict(width=64, depth=1, heads=1, predictor_width=8, predictor_depth=2)
    choices = {"recipe": "published", **sizes, **choices}
    s = BrainJepaSettings.preset(
        "tiny", rois=3, frames=8, patch=4, components=5, predictor_heads=1, **choices
    )
    torch.manual_seed(0)
    return BrainJEPA(s, torch.randn(3, 5))


@pytest.fixture(scope="module")
def published():
    model = make()
    return model, to_official(model)


def test_names_and_shapes_are_the_published_ones(published):
    _, states = published
    encoder = encoder_shapes(64, 1, 3, 2, 4, 5)
    predictor = predictor_shapes(64, 8, 2, 3, 2, 5)
    for part, shapes in zip(PARTS, (encoder, encoder, predictor), strict=True):
        assert {k: tuple(v.shape) for k, v in states[part].items()} == shapes


def test_a_file_survives_the_round_trip(published, tmp_path):
    model, _ = published
    write_official(model, tmp_path / "tiny.pth.tar")
    found = from_official(
        **{p: read_official(tmp_path / "tiny.pth.tar")[p] for p in PARTS}, gradient=model.basis
    )
    assert found.settings == model.settings
    for key, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key


def test_a_published_file_has_more_keys_and_a_module_prefix(published, tmp_path):
    model, states = published
    checkpoint = {p: {f"module.{k}": v for k, v in s.items()} for p, s in states.items()}
    extras = dict(opt={"state": {}}, scaler=None, epoch=7, loss=0.1, batch_size=2, world_size=8)
    torch.save({**checkpoint, **extras, "lr": 1e-3}, tmp_path / "a.pth.tar")
    found = read_official(tmp_path / "a.pth.tar")
    assert found["epoch"] == 7
    again = from_official(**{p: found[p] for p in PARTS}, gradient=model.basis.numpy())
    x = torch.randn(1, 3, 8)
    assert torch.equal(again.encode(x), model.encode(x))


class Malicious:
    def __reduce__(self):
        return (os.system, ("echo this must never run > /dev/null",))


@pytest.mark.parametrize("content", ["torch pickle", "plain pickle", "text", "empty", "truncated"])
def test_files_that_are_no_plain_checkpoint_are_refused(content, published, tmp_path):
    path = tmp_path / "bad.pth.tar"
    if content == "torch pickle":
        torch.save({"encoder": Malicious()}, path)
    elif content == "plain pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    elif content == "truncated":
        write_official(published[0], path)
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.write_text("not a checkpoint" if content == "text" else "")
    with pytest.raises(ValueError, match="found a file that torch does not load with weights_only"):
        read_official(path)


def test_missing_parts_and_missing_files(tmp_path):
    torch.save({"encoder": {}}, tmp_path / "a.pth.tar")
    with pytest.raises(ValueError, match="found target_encoder, predictor missing"):
        read_official(tmp_path / "a.pth.tar")
    torch.save([1, 2], tmp_path / "b.pth.tar")
    with pytest.raises(ValueError, match="this is not a pretraining checkpoint"):
        read_official(tmp_path / "b.pth.tar")
    with pytest.raises(FileNotFoundError):
        read_official(tmp_path / "absent.pth.tar")


@functools.cache
def intact() -> BrainJEPA:
    """One model for all examples; as a fixture it would be printed with each failing one."""
    return make()


@given(st.data())
def test_damaged_state_dicts_are_refused(data):
    states = to_official(intact())
    part = data.draw(st.sampled_from(PARTS))
    key = data.draw(st.sampled_from(sorted(states[part])))
    damage = data.draw(st.sampled_from(["missing", "extra", "longer", "flat", "scalar", "table"]))
    array = states[part][key]
    if damage == "missing":
        del states[part][key]
        if "emb_h" in key and part != "encoder":
            return  # these are functions of the settings, and the encoder's copy is enough
    elif damage == "extra":
        states[part][data.draw(st.text(min_size=1, max_size=9)) + "?"] = array
    elif damage == "longer":
        states[part][key] = torch.cat([array, array])
    elif damage == "flat":
        if array.dim() == 1 or key == "mask_token" or "patch_embed" in key:
            return  # a vector is flat already; reshaping these two loses nothing
        states[part][key] = array.flatten()
    elif damage == "scalar":
        states[part][key] = torch.tensor(1.0)
    else:
        table = next(k for k in states[part] if "emb_h" in k)
        states[part][table] = states[part][table] + 0.1
    with pytest.raises(ValueError, match=r"(?s)^expected .*, found .*; "):
        from_official(**states, gradient=intact().basis)


def test_error_texts(published):
    model, states = published
    with pytest.raises(
        ValueError, match="expected a published encoder state dict, found no matrix that"
    ):
        from_official(**{**states, "encoder": states["predictor"]}, gradient=model.basis)
    with pytest.raises(
        ValueError, match=r"divides the 6 tokens .*, found 4 rows; give the gradient"
    ):
        from_official(**states, gradient=torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"ROI basis of shape \(3, 5\), found shape \(3, 6\)"):
        from_official(**states, gradient=torch.zeros(3, 6))
    fewer = {k: v for k, v in states["predictor"].items() if k != "predictor_proj.bias"}
    with pytest.raises(ValueError, match="published predictor, found 1 missing, unknown or"):
        from_official(**{**states, "predictor": fewer}, gradient=model.basis)
    with pytest.raises(ValueError, match=r"published arithmetic.*position_scaling rows"):
        to_official(make(position_scaling="rows"))
    with pytest.raises(ValueError, match="found positions sincos"):
        to_official(make(positions="sincos"))


def test_heads_that_the_files_cannot_carry_are_refused():
    with pytest.raises(
        ValueError, match=r"expected 1 heads .* width 64, found 2 and 1; state dict"
    ):
        to_official(make(heads=2))
