from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brainjepa_core.evaluation.learning.finetune import Finetuned
from brainjepa_core.evaluation.learning.finetuned_files import (
    DESCRIPTION,
    WEIGHTS,
    read_finetuned,
    write_finetuned,
)
from brainjepa_core.evaluation.learning.finetuned_network import FinetunedNetwork
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.readout.with_slopes import LogWithSlopes
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.checkpoint import Provenance

PROVENANCE = Provenance(atlas="a", rois=tuple("abcde"), basis_hash="0", signals={"tr": 2.0})
ORIGIN = {"scans": "ab", "task": {"name": "age"}}
BOTH = ("latent_connectivity", "latent_log_connectivity")
SEEN = LogConnectivity.of(np.corrcoef(np.random.default_rng(0).standard_normal((5, 30))), 3)
TARGETS = [LearnedTarget(("no", "yes"), (0.5, 1.5)), LearnedTarget(mean=40.5, sd=3.25)]


def fitted_on(target: LearnedTarget, readouts=BOTH) -> Finetuned:
    torch.manual_seed(0)
    sizes = dict(width=8, depth=2, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=5, frames=8, patch=4, components=2, **sizes)
    head = ReadOutHead(10 * (BOTH[0] in readouts) + 9 * (BOTH[1] in readouts), target.outputs, 3)
    head.centre.normal_()
    log = LogWithSlopes.of(SEEN)
    network = FinetunedNetwork(BrainJEPA(s, torch.randn(5, 2)), head, readouts, log)
    return Finetuned(network.eval(), target, "made-up", 20)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("readouts", [BOTH, BOTH[:1], BOTH[1:]])
def test_what_is_read_predicts_the_same(tmp_path, target, readouts):
    fitted = fitted_on(target, readouts)
    write_finetuned(tmp_path / "mine", fitted, PROVENANCE, ORIGIN)
    found, provenance = read_finetuned(tmp_path / "mine")
    r = torch.from_numpy(SEEN.consensus)[None], torch.ones(1, 5, 5, dtype=torch.bool)
    assert torch.equal(found.network.of_connectivity(*r), fitted.network.of_connectivity(*r))
    assert found.steps == 20
    assert found.target == target and found.task == "made-up" and provenance == PROVENANCE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    assert json.loads((tmp_path / "mine" / "origin.json").read_text()) == ORIGIN


def test_an_existing_folder_is_not_replaced(tmp_path):
    write_finetuned(tmp_path / "mine", fitted_on(TARGETS[0]), PROVENANCE, ORIGIN)
    with pytest.raises(FileExistsError, match="expected a new folder name"):
        write_finetuned(tmp_path / "mine", fitted_on(TARGETS[1]), PROVENANCE, ORIGIN)


def damage_weights(folder):
    (folder / WEIGHTS).write_bytes(b"nothing")


def drop_an_array(folder):
    arrays = load_file(folder / WEIGHTS)
    del arrays["head.linear.bias"]
    save_file(arrays, folder / WEIGHTS)


def drop_the_centre(folder):
    arrays = load_file(folder / WEIGHTS)
    del arrays["head.centre"]
    save_file(arrays, folder / WEIGHTS)


def drop_a_field(folder):
    description = json.loads((folder / DESCRIPTION).read_text())
    del description["target"]
    (folder / DESCRIPTION).write_text(json.dumps(description))


def no_dictionary(folder):
    (folder / DESCRIPTION).write_text("[]")


@pytest.mark.parametrize(
    "damage", [damage_weights, drop_an_array, drop_the_centre, drop_a_field, no_dictionary]
)
def test_damage_is_told(tmp_path, damage):
    write_finetuned(tmp_path / "mine", fitted_on(TARGETS[0]), PROVENANCE, ORIGIN)
    damage(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"expected a fine-tuned model .* copy the folder again"):
        read_finetuned(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"found no such file in '.*nowhere'; copy"):
        read_finetuned(tmp_path / "nowhere")


def test_a_head_on_other_read_outs_is_told(tmp_path):
    """As of a version that read log-connectivity at one level: 16 features of these ROIs."""
    fitted = fitted_on(TARGETS[0])
    fitted.network.head = ReadOutHead(16, TARGETS[0].outputs, 3)
    write_finetuned(tmp_path / "old", fitted, PROVENANCE, ORIGIN)
    with pytest.raises(ValueError, match=r"found damage, or another format .*fine-tune anew"):
        read_finetuned(tmp_path / "old")
