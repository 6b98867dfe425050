"""Our plug-in of Brainmarks: found by its registry, gives what `brainjepa.load` gives.

Where Brainmarks is installed it is the real one; else two modules stand in, which do what its
registry and its base do when a plug-in is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module, util
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import brainjepa
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.pretraining.settings import PretrainingSettings

PLUGIN = "brainmarks.models.brainjepa_federated"
STUDY = PretrainingSettings(
    model={"width": 16, "depth": 1, "heads": 2, "predictor_width": 16, "predictor_heads": 2},
    windows={"frames": 64},
    basis={"components": 4},
)


class Embeddings(NamedTuple):
    cls_embeds: Any
    reg_embeds: Any
    patch_embeds: Any


@pytest.fixture
def create(monkeypatch):
    """Brainmarks' ``create_model``."""
    if util.find_spec("brainmarks.models.registry") is None:
        known: dict[str, Any] = {}
        base, registry = ModuleType("base"), ModuleType("registry")
        base.Embeddings = Embeddings
        registry.register_model = lambda f: known.setdefault(f.__name__, f)
        registry.create_model = lambda name, **kwargs: known[name](**kwargs)
        monkeypatch.setitem(sys.modules, "brainmarks.models.base", base)
        monkeypatch.setitem(sys.modules, "brainmarks.models.registry", registry)
        monkeypatch.delitem(sys.modules, PLUGIN, raising=False)
        import_module(PLUGIN)
        return registry.create_model
    return import_module("brainmarks.models.registry").create_model


def written(path, rois):
    gradients = np.random.default_rng(0).normal(size=(len(rois), 4))
    basis = ConsensusBasis(tuple(rois), gradients, np.full(4, np.nan))
    signals = STUDY.windows.model_dump(mode="json")
    told = Provenance(atlas="atlas", rois=basis.rois, basis_hash=basis.hash, signals=signals)
    write_model(path, STUDY.new_model(basis), told)
    return path


def samples(count, frames, rois):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        bold = rng.normal(size=(frames, rois)).cumsum(0)
        mean, std = bold.mean(0, keepdims=True), bold.std(0, keepdims=True)
        scaled = torch.tensor((bold - mean) / std, dtype=torch.float32)
        told = {"tr": 2.0, "bold": scaled, "mean": torch.tensor(mean), "std": torch.tensor(std)}
        found.append((bold.T, told))
    return found


def test_a_checkpoint_as_brainmarks_reads_it(create, tmp_path):
    path = written(tmp_path / "model", brainjepa.load_atlas().rois)
    transform, model = create("brainjepa_federated", source=str(path))
    assert model.__space__ == "schaefer400_tians3"
    both = samples(2, 150, 450)
    batch = default_collate([transform(dict(told)) for _, told in both])
    cls, reg, patch = model(batch)
    assert reg is None and cls.shape == (2, 1, 450 * 449 // 2) and patch.shape == (2, 2 * 1800, 16)
    embedder = brainjepa.load(path)
    for (series, _), tokens, pairs in zip(both, patch, cls[:, 0], strict=True):
        np.testing.assert_allclose(
            tokens.numpy(), embedder.tokens(series, 2.0).reshape(-1, 16), atol=2e-4
        )
        np.testing.assert_allclose(pairs.numpy(), embedder.embed(series, 2.0), atol=2e-3)


def test_what_is_no_model_for_its_space(create, tmp_path, monkeypatch):
    path = written(tmp_path / "model", [f"roi_{i}" for i in range(20)])
    with pytest.raises(ValueError, match="expected a model of the 450 ROIs of schaefer400_tians3"):
        create("brainjepa_federated", source=str(path))
    monkeypatch.delenv("BRAINJEPA_MODEL", raising=False)
    with pytest.raises(ValueError, match=r"found none; give model_kwargs\.source, or BRAINJEPA_M"):
        create("brainjepa_federated")
