"""Model folders: the same bits anywhere, and only with data in the same order."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models import checkpoint
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.checkpoint import (
    Provenance,
    read_description,
    read_model,
    write_model,
)
from brainjepa_core.version import VERSION

SIZES = dict(
    frames=12, patch=3, components=2, width=8, depth=1, heads=2,
    predictor_width=8, predictor_depth=1, predictor_heads=2,
)  # fmt: skip
BASIS = torch.arange(10.0).reshape(5, 2) / 7
R = ("HIP-lh", "HIP-rh", "Vis_1", "Vis_2", "Default")
HASH = ConsensusBasis(R, BASIS.numpy(), np.ones(2)).hash
PROVENANCE = Provenance(
    atlas="five",
    rois=R,
    basis_hash=HASH,
    signals={"frames": 12, "tr": 2.0, "temporal": "antialias", "scaling": "zscore"},
)


def make(**choices) -> BrainJEPA:
    s = BrainJepaSettings.preset("tiny", rois=5, **{**SIZES, **choices})
    return BrainJEPA(s, BASIS)


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "final", make(), PROVENANCE)
    return tmp_path / "final"


@pytest.mark.parametrize("recipe", ["default", "published"])
@pytest.mark.parametrize("positions", ["gradient", "sincos"])
def test_round_trip(tmp_path, recipe, positions):
    model = make(recipe=recipe, positions=positions)
    model.after_step(0.5)
    for p in model.parameters():
        p.data.add_(torch.randn_like(p))
    write_model(tmp_path / "final", model, PROVENANCE)
    found, provenance = read_model(tmp_path / "final")
    assert found.settings == model.settings and provenance == PROVENANCE
    ours, theirs = model.state_dict(), found.state_dict()
    assert "basis" in ours and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) and ours[k].dtype == theirs[k].dtype for k in ours)
    x = torch.randn(2, 5, 12)
    assert torch.equal(model.encode(x), found.encode(x))
    assert [p.requires_grad for p in found.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    # Written again, it is the same file: nothing in it depends on when or where.
    write_model(tmp_path / "again", found, provenance)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "final" / name).read_bytes()


def test_the_folder_names_nothing_but_what_it_is_tied_to(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]
    description = json.loads((folder / "model.json").read_text())
    assert description.keys() == {"family", "settings", "provenance"}
    assert description["provenance"] == {
        "atlas": "five",
        "rois": list(PROVENANCE.rois),
        "basis_hash": HASH,
        "signals": PROVENANCE.signals,
        "version": VERSION,
    }
    assert str(folder.parent) not in (folder / "model.json").read_text()


def changed(**fields) -> Provenance:
    return PROVENANCE.model_copy(update=fields)


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (
            changed(rois=(R[1], R[0], *R[2:])),
            r"the 5 ROIs of the data, found a checkpoint of 5 ROIs that differs first at row 0 "
            r"\(HIP-rh against HIP-lh\); bring the data to the checkpoint's atlas 'five' ",
        ),
        (changed(rois=R[:4]), r"the 4 ROIs .* of 5 ROIs .* row 4 \(nothing against Default\)"),
        (changed(rois=(*R, "x")), r"the 6 ROIs .* of 5 ROIs .* row 5 \(x against nothing\)"),
        (changed(rois=("a",) * 5), r"row 0 \(a against HIP-lh\); .* atlas 'five' and order"),
        (
            changed(basis_hash="cd" * 32),
            rf"basis_hash (cd)+, found {HASH} in the checkpoint; contin",
        ),
        (
            changed(signals={**PROVENANCE.signals, "tr": 0.8}),
            r"signals \{.*'tr': 0.8.*\}, found \{.*'tr': 2.0.*\} in the checkpoint; .* start a new",
        ),
        (changed(signals={"frames": 12}), r"signals \{'frames': 12\}, found \{"),
    ],
)
def test_what_does_not_belong_together_is_refused(folder, ours, text):
    found = read_description(folder).provenance
    with pytest.raises(ValueError, match=text):
        ours.require(found)


def test_what_belongs_together_is_not(folder):
    found = read_description(folder).provenance
    PROVENANCE.require(found)
    changed(version="0.0.0").require(found)


def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name, owner in (("save_file", checkpoint), ("dumps", checkpoint.json)):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(owner, name, crash)
            write_model(tmp_path / "final", make(), PROVENANCE)
        assert list(tmp_path.iterdir()) == []
    write_model(tmp_path / "final", make(), PROVENANCE)
    with pytest.raises(FileExistsError, match="found that 'final' exists; choose another name"):
        write_model(tmp_path / "final", make(), PROVENANCE)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    text = "weights in model.safetensors, found damage, or another format; copy"
    with pytest.raises(ValueError, match=text):
        read_model(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"in model.safetensors, found no such file; copy"):
        read_model(folder)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "no such file"),
        ("", "damaged JSON (line 1)"),
        ('{"settings": {', "damaged JSON (line 1)"),
        ("[]", "damage, or another format"),
        ("{}", "a part missing"),
        ('{"settings": 3, "provenance": {}}', "damage, or another format"),
        ('{"settings": {"rois": 5}, "provenance": {}}', "4 fields that do not fit"),
    ],
)
def test_a_folder_that_is_none(folder, content, found):
    path = folder / "model.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    text = f"and model.safetensors, found {found} in '{folder}'; give"
    for read in (read_description, read_model):
        with pytest.raises(ValueError, match=re.escape(text)):
            read(folder)


def test_weights_of_another_model(folder):
    path = folder / "model.safetensors"
    arrays = load_file(path)
    n, name = len(arrays), "encoder.norm.bias"
    for wrong in (
        {k: v for k, v in arrays.items() if k != name},
        {**arrays, name: torch.zeros(9)},
        {**{k: v for k, v in arrays.items() if k != name}, f"{name}2": arrays[name]},
    ):
        save_file(wrong, path)
        text = rf"expected {n} arrays as model.json .*, found [12] missing, .*\({name}.*different"
        with pytest.raises(ValueError, match=text):
            read_model(folder)


@pytest.mark.parametrize("wrong", ["basis", "order", "hash"])
def test_another_basis_than_the_one_it_was_trained_on(folder, wrong):
    """A basis whose rows lie in another order has the shapes of the right one."""
    if wrong == "basis":
        arrays = load_file(folder / "model.safetensors")
        save_file({**arrays, "basis": arrays["basis"].flip(0)}, folder / "model.safetensors")
    else:
        description = json.loads((folder / "model.json").read_text())
        told = description["provenance"]
        told |= {"rois": R[::-1]} if wrong == "order" else {"basis_hash": "cd" * 32}
        (folder / "model.json").write_text(json.dumps(description))
    expected = "cdcdcdcdcdcd" if wrong == "hash" else HASH[:12]
    text = rf"^expected the basis {expected} that the model was trained on, found [0-9a-f]{{12}} in"
    with pytest.raises(ValueError, match=text):
        read_model(folder)
