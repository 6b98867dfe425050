"""Supervised pretraining across sites: one site is local training, and who lacks a phenotype."""

from __future__ import annotations

import numpy as np
import pytest
from small_consortium import MODEL, local_training, plan, run, same, summary, weights

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.adapters import without_adapters
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.models.registry import families
from brainjepa_simulations.scenario import Scenario

ENCODER = {name: MODEL[name] for name in ("width", "depth", "heads", "patch")}
AGE = {"column": "age", "mean": 50.0, "sd": 20.0}
TRAIT = {"column": "latent_1", "mean": 0.0, "sd": 1.0}
LISTS = [AGE, TRAIT]


def scenario(*arguments, model=None, start=None, **changes) -> Scenario:
    content = plan(*arguments, **changes)
    pretraining = content["study"]["pretraining"]
    pretraining["family"] = "phenotype_heads"
    pretraining["model"] = {**ENCODER, "phenotypes": LISTS, **(model or {})}
    if start is not None:
        content["study"]["start_from"] = {"model": str(start)}
    return Scenario.model_validate(content)


WAYS = {
    "all": ({}, {}),
    "adapters": ({}, {"train": "adapters", "adapter_rank": 2}),
    "heads": ({"freeze_encoder": True}, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_site_through_the_federation_is_local_training(tmp_path, way):
    model, training = WAYS[way]
    chosen = scenario(1, 3, model=model, training=training)
    run(chosen, tmp_path)
    found = weights(tmp_path)
    assert same(found, plain(local_training(chosen, tmp_path).model))
    assert np.any(found["heads.weight"])
    start = plain(chosen.study.pretraining.new_model(ConsensusBasis.load(tmp_path / "basis.npz")))
    moved = {name for name in found if not np.array_equal(found[name], start[name])}
    assert ("encoder.patch.weight" in moved) == (way == "all")
    assert any("attn" in name for name in moved) == (way != "heads")


def plain(model) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in model_arrays(without_adapters(model)).items()}


def test_several_sites_learn_together(tmp_path):
    chosen = scenario(3, 2, training={"batch_size": 8})
    run(chosen, tmp_path)
    rounds = summary(tmp_path)["rounds"]
    assert [len(r["sites"]) for r in rounds] == [3, 3, 3]
    assert rounds[-1]["yardstick"] and np.all(weights(tmp_path)["heads.bias"])
    assert "phenotype_heads" in families()


@pytest.mark.slow
def test_it_starts_from_a_model_of_another_family(tmp_path):
    """Whose embedder is the same network; the heads are new."""
    first = plan(2, 3)
    run(Scenario.model_validate(first), tmp_path / "first")
    still = {"schedule": {"total_steps": 3, "lr": 1e-30, "final_lr": 0.0, "start_lr": 0.0}}
    chosen = scenario(2, 3, start=tmp_path / "first", training=still)
    run(chosen, tmp_path / "second")
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    shared = [name for name in after if name.startswith("encoder.")]
    for name in shared:
        assert np.array_equal(after[name], before[f"target_{name}"])
    other = scenario(2, 3, start=tmp_path / "first", model={"width": 16})
    with pytest.raises(ValueError, match="expected a model whose embedder is that of the study"):
        run(other, tmp_path / "third")
