"""A federation that trains adapters only: small rounds, and a plain model at the end."""

from __future__ import annotations

import numpy as np
import pytest
from small_consortium import bits, local_training, plan, run, same, scenario, summary, weights

from brainjepa_core.models.adapters import without_adapters
from brainjepa_core.models.checkpoint import model_arrays, read_model
from brainjepa_simulations.scenario import Scenario

ADAPTERS = {"train": "adapters", "adapter_rank": 2}
NEVER_TRAINED = "encoder.blocks.0.mlp.fc1.weight"


def merged(training) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in model_arrays(without_adapters(training.model)).items()}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    return run(scenario(training=ADAPTERS), tmp_path_factory.mktemp("adapted"))


def test_one_site_is_local_training_bit_for_bit(tmp_path):
    chosen = scenario(1, 2, training=ADAPTERS)
    run(chosen, tmp_path)
    training = local_training(chosen, tmp_path)
    assert same(weights(tmp_path), merged(training))
    assert not same(weights(tmp_path), bits(training))  # which has the layers apart


def test_rounds_are_small_and_the_end_is_a_plain_model(adapted, tmp_path):
    run(scenario(), tmp_path)
    whole, little = (summary(folder)["rounds"] for folder in (tmp_path, adapted))
    assert all(a["bytes_up"] < 0.4 * b["bytes_up"] for a, b in zip(little, whole, strict=True))
    assert [len(r["sites"]) for r in little] == [2, 2, 2]
    for name in ("final", "best"):
        model, _ = read_model(adapted / name)
        assert model.settings.adapters == 0
    assert weights(adapted).keys() == weights(tmp_path).keys()


def test_only_attention_and_norms_have_moved(adapted, tmp_path):
    still = {"schedule": {"total_steps": 2, "lr": 1e-30, "final_lr": 0.0, "start_lr": 0.0}}
    run(scenario(training={**ADAPTERS, **still}), tmp_path)
    start, end = weights(tmp_path), weights(adapted)
    moved = {name for name in start if not np.allclose(start[name], end[name], rtol=0, atol=1e-6)}
    assert moved
    assert all("attn" in name or "norm" in name for name in moved)
    assert any(name.startswith("target_encoder.") and "qkv" in name for name in moved)


@pytest.mark.parametrize("target", ["line", "local"])
def test_targets_that_are_not_sent_follow_too(tmp_path, target):
    run(scenario(1, 1, training=ADAPTERS, aggregation={"target": target}), tmp_path)
    found = weights(tmp_path)
    expected = merged(local_training(scenario(1, 1, training=ADAPTERS), tmp_path))
    for name, value in expected.items():
        if target == "line" or not name.startswith("target_encoder."):
            assert np.allclose(found[name], value, rtol=0, atol=2e-5), name


def test_a_study_goes_on_from_a_plain_model(adapted, tmp_path):
    content = plan(2, 3, training={**ADAPTERS, "seed": 8}, cohort={"seed": 5})
    content["study"]["start_from"] = {"model": str(adapted)}
    run(Scenario.model_validate(content), tmp_path)
    before, after = weights(adapted), weights(tmp_path)
    assert np.array_equal(before[NEVER_TRAINED], after[NEVER_TRAINED])
    name = "encoder.blocks.0.attn.qkv.weight"
    assert not np.array_equal(before[name], after[name])
