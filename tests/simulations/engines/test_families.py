"""Any family of models goes the whole way: pretrained, federated, kept, evaluated, fine-tuned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_consortium import TOTAL, bits, local_training, plan, run, same, weights
from toy_family import LINEAR, LinearModel

from brainjepa_core.evaluation.learning.finetune import FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_files import read_finetuned, write_finetuned
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_server.record.history import read_history
from brainjepa_simulations.scenario import Scenario

AGE = {"phenotypes": [{"column": "age", "mean": 50.0, "sd": 20.0}]}
# What a model of a few hundred weights is in each family; None is that of `small_consortium`.
SIZES: dict[str, dict | None] = {
    "brain_network_transformer": {"patch": 4, "width": 8, "heads": 2, "clusters": 3, **AGE},
    "braingnn": {"patch": 4, "channels": 4, "hidden": 8, **AGE},
    "brainlm": {
        "patch": 4,
        "width": 8,
        "depth": 1,
        "heads": 2,
        "decoder_width": 4,
        "decoder_depth": 1,
        "decoder_heads": 2,
    },
    "brainmass": {"patch": 4, "depth": 1, "heads": 2, "inner": 8, "projection": 4},
    "brainnetcnn": {"patch": 4, "edges": 2, "nodes": 4, "graph": 4, **AGE},
    "csm": {"patch": 4, "width": 8, "depth": 1, "heads": 2, "fewest": 4},
    "linear": {"patch": 4, "width": 3},
    "masked_autoencoder": None,
    "person_jepa": {"patch": 4, "width": 8, "depth": 1, "heads": 2, "directions": 3},
}


def scenario(family: str, *arguments, **changes) -> Scenario:
    content = plan(*arguments, **changes)
    pretraining = content["study"]["pretraining"]
    pretraining["family"] = family
    pretraining["model"] = SIZES[family] or pretraining["model"]
    return Scenario.model_validate(content)


@pytest.mark.parametrize(
    ("family", "target"),
    # A loss that reads what follows would see, on a line, where that has been drawn to.
    [*((name, "average") for name in SIZES), *((n, "line") for n in SIZES if n != "brainmass")],
)
def test_one_site_through_the_federation_is_local_training(tmp_path, family, target):
    chosen = scenario(family, 1, 3, aggregation={"target": target})
    run(chosen, tmp_path)
    expected, found = bits(local_training(chosen, tmp_path)), weights(tmp_path)
    roles = family_named(family).model.roles
    followers = {name for name in found if roles.is_follower(name)}
    assert (followers != set()) == (family in ("linear", "brainmass"))
    exact = found.keys() - (followers if target == "line" else set())
    assert same({n: found[n] for n in exact}, {n: expected[n] for n in exact})


@pytest.mark.gpu
@pytest.mark.parametrize("family", SIZES)
def test_a_site_with_a_gpu_trains_there_and_to_the_bit(tmp_path, family):
    chosen = scenario(family, 1, 3, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    run(chosen, tmp_path)
    assert torch.cuda.max_memory_allocated() > 0
    assert same(weights(tmp_path), bits(local_training(chosen, tmp_path, "cuda")))


def test_a_family_of_ones_own_goes_all_the_way(tmp_path):
    chosen = scenario("linear", 2, 3)
    run(chosen, tmp_path)
    model, told = read_model(tmp_path / "final")
    assert isinstance(model, LinearModel) and model.settings.width == 3
    rounds = read_history(tmp_path).rounds
    assert len(rounds) == TOTAL // 3 and rounds[-1].yardstick
    assert rounds[-1].loss < rounds[0].loss

    windows = Windows(
        [ScanStore.open(path) for path in sorted((tmp_path / "stores").iterdir())],
        chosen.study.pretraining.windows,
    )
    run_of_its_own(chosen.study.pretraining, windows, tmp_path)
    fine_tuned(model, told, windows, tmp_path)


def run_of_its_own(study: PretrainingSettings, windows: Windows, folder) -> None:
    from brainjepa_core.pretraining.site_sums.basis import consensus_basis

    basis = consensus_basis(windows, study.basis.components, study.basis.sparsity)
    training = study.new_training(basis)
    pretrain(training, windows, provenance(windows, basis), folder / "local", progress=False)
    again, _ = read_model(folder / "local" / "final")
    assert same({name: value.numpy() for name, value in again.state_dict().items()}, bits(training))


def fine_tuned(model, told, windows: Windows, folder) -> None:
    task = TaskSettings(name="age", column="age", kind="regression")
    data = task_data(task, windows)
    split = splits_of(ProtocolSettings(kind="holdout", seeds=1), data)[0]
    for train in ("all", "head"):
        settings = FinetuneSettings(steps=3, batch_size=4, train=train)
        whole = replace(split, validation=split.validation[:0])  # all steps are taken
        fitted = FinetuneMethod("age", model, windows, settings).fit(data, whole)
        pairs = zip(fitted.network.encoder.parameters(), model.embedder.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) == (train == "all")
        write_finetuned(folder / train, fitted, told, {})
        read, _ = read_finetuned(folder / train)
        people = data.people[split.test]
        first = np.zeros(len(people), np.int64)
        found = [network.predict(windows, people, first) for network in (read, fitted)]
        assert np.array_equal(*found)
    adapters = FinetuneSettings(steps=3, batch_size=4, train="adapters")
    with pytest.raises(ValueError, match="expected a family of models with blocks of attention"):
        FinetuneMethod("age", model, windows, adapters).fit(data, split)


def test_an_unknown_family_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected a family of models among brain_jepa, masked_au"):
        PretrainingSettings(family="nosuch")


def test_a_family_is_registered_once():
    from brainjepa_core.models.registry import Family, families, family_named, family_of, register

    assert register(LINEAR) is LINEAR and family_named("linear") is LINEAR
    assert families()[:3] == ("brain_jepa", "masked_autoencoder", "person_jepa")
    for name in ("linear", "brain_jepa"):
        with pytest.raises(ValueError, match=f"expected a name that no family .* found '{name}'"):
            register(Family(name, LINEAR.settings, LinearModel, read_published=print))

    class Stranger(LinearModel):
        """Of no family."""

    with pytest.raises(ValueError, match="a model of a registered family, found Stranger; reg"):
        family_of(Stranger(LINEAR.settings(rois=3, components=2), torch.zeros(3, 2)))
