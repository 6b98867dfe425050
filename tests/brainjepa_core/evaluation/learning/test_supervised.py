"""The loop: deterministic, its best state kept, learned of training rows only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_tasks import split_of, task_of

from brainjepa_core.evaluation.learning.inputs import ArrayInputs
from brainjepa_core.evaluation.learning.optimizer import Group
from brainjepa_core.evaluation.learning.probe import ProbeMethod
from brainjepa_core.evaluation.learning.supervised import (
    TrainingSettings,
    fit,
    fit_and_predict,
    is_sure,
    outputs_of,
    seeded,
)
from brainjepa_core.evaluation.methods.network_methods import ConnectivityNetworkMethod
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.models.registry import learners

S = TrainingSettings(steps=40, batch_size=8, evaluate_every=5, lr=0.02, patience=100)


def linear_data(n: int = 60, seed: int = 0, noise: float = 0.3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    return x, x @ [1.0, -2.0, 0.5, 0.0, 0.0] + noise * rng.standard_normal(n)


def linear(seed: int = 0) -> torch.nn.Linear:
    with seeded(seed):
        return torch.nn.Linear(5, 1)


class Spy(ArrayInputs):
    """Inputs that remember who was asked for."""

    def __init__(self, *arrays):
        super().__init__(*arrays)
        self.drawn, self.seen = [], set()

    def draw(self, rows, seeds):
        if len(seeds):
            self.drawn.append((list(rows), list(seeds)))
        return super().draw(rows, seeds)

    def whole(self, rows):
        self.seen |= set(rows)
        return super().whole(rows)


def test_training_draws_training_people_only_and_looks_at_validation_only():
    x, y = linear_data()
    split, inputs = split_of(60), Spy(x)
    fit(linear(), inputs, task_of(y), split, S)
    assert {row for rows, _ in inputs.drawn for row in rows} == set(split.train)
    assert inputs.seen == set(split.validation)


def test_other_peoples_data_change_nothing():
    x, y = linear_data()
    split, found = split_of(60), []
    for untouched in (True, False):
        x2, y2 = x.copy(), y.copy()
        if not untouched:
            x2[split.test], y2[split.test] = np.nan, 1e6
        network = linear()
        fit(network, ArrayInputs(x2), task_of(y2), split, S)
        found.append(network.weight.detach())
    assert torch.equal(*found)


def test_what_covariates_tell_of_the_target_is_learned_of_training_people():
    x, y = linear_data()
    split, found = split_of(60), []
    covariates = np.random.default_rng(1).standard_normal((60, 2))
    y += covariates @ [3.0, -2.0]
    for untouched in (True, False):
        y2, other = y.copy(), covariates.copy()
        if not untouched:
            y2[split.test] += 1e3 * other[split.test, 0]
            other[split.test] *= 7
        network = linear()
        fit(network, ArrayInputs(x), task_of(y2, covariates=other), split, S)
        found.append(network.weight.detach())
    assert torch.equal(*found)


def test_equal_seeds_are_equal_trainings_and_others_are_not():
    x, y = linear_data()
    drawn, weights = [], []
    for settings, repetition in ((S, 0), (S, 0), (S.model_copy(update={"seed": 1}), 0), (S, 1)):
        torch.rand(3)  # the generator's state must not matter
        inputs, network = Spy(x), linear()
        fit(network, inputs, task_of(y), split_of(60, repetition=repetition), settings)
        drawn.append(inputs.drawn)
        weights.append(network.weight.detach())
    assert drawn[0] == drawn[1] and torch.equal(weights[0], weights[1])
    assert drawn[0] != drawn[2] and drawn[0] != drawn[3]


def test_a_start_that_no_step_betters_is_kept():
    x, y = linear_data(noise=0.0)
    split, network = split_of(60), linear()
    first = fit(network, ArrayInputs(x), task_of(y), split, S.model_copy(update={"steps": 200}))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    wild = S.model_copy(update={"lr": 10.0, "warmup": 0.0})
    found = fit(network, ArrayInputs(x), task_of(y), split, wild)
    assert first.steps > 0 and found.steps == 0
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in start.items())


def test_a_gain_within_two_standard_errors_is_none():
    assert is_sure(torch.tensor([1.0, 1.0, 0.5, 1.5])) and is_sure(torch.ones(3))
    assert not is_sure(torch.tensor([3.0, -1.0, -1.0, 0.0])) and not is_sure(torch.zeros(3))
    assert not is_sure(-torch.ones(3)) and not is_sure(torch.ones(1))  # of one nobody can say
    x, y = linear_data(noise=0.0)
    split = split_of(60)
    for noise, moves in ((0.0, True), (100.0, False)):
        told = y + noise * np.random.default_rng(1).standard_normal(60)
        network = linear()
        start = network.weight.detach().clone()
        found = fit(network, ArrayInputs(x), task_of(told), split, S, sure=True)
        assert (found.steps > 0) == moves == (not torch.equal(network.weight.detach(), start))


def test_until_a_step_is_the_whole_schedule_cut_short():
    x, y = linear_data()
    split, states = split_of(60, validation=0.0), []
    network = linear()
    fit(
        network, ArrayInputs(x), task_of(y), split, S,
        progress=lambda _: states.append(network.weight.detach().clone()),
    )  # fmt: skip
    network = linear()
    assert fit(network, ArrayInputs(x), task_of(y), split, S, until=15).steps == 15
    assert torch.equal(network.weight.detach(), states[2])
    refreshed = []
    fit(linear(), ArrayInputs(x), task_of(y), split, S, until=12, refresh=refreshed.append)
    assert refreshed == [0, 5, 10, 12]


def test_random_numbers_of_others_go_on_as_before():
    x, y = linear_data()
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    fit(linear(), ArrayInputs(x), task_of(y), split_of(60), S)
    assert torch.equal(torch.rand(4), expected)


def test_everybody_comes_once_an_epoch():
    x, y = linear_data(30)
    split, inputs = split_of(30, validation=0.0), Spy(x)
    fit(linear(), inputs, task_of(y), split, S.model_copy(update={"steps": 3, "batch_size": 8}))
    assert sorted(row for rows, _ in inputs.drawn for row in rows) == sorted(split.train)
    assert len({seed for _, seeds in inputs.drawn for seed in seeds}) == 3  # one a step


def test_the_best_state_of_validation_is_kept():
    """Few noisy people and a large step: validation gets worse in time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 5))
    y = x[:, 0] + 2 * rng.standard_normal(30)
    split, looks, states = split_of(30), [], []
    network = linear()

    def look(found):
        looks.append(found)
        states.append(network.weight.detach().clone())

    s = S.model_copy(update={"lr": 0.3, "steps": 60})
    target, steps = fit(network, ArrayInputs(x), task_of(y), split, s, progress=look)
    losses = [found.validation for found in looks]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    assert torch.equal(network.weight.detach(), states[best])
    assert not network.training and steps == looks[best].steps
    predicted = outputs_of(network, ArrayInputs(x), split.validation.tolist())
    error = ((predicted[:, 0] - target.encode(y)[split.validation]) ** 2).mean()
    assert error.item() == pytest.approx(losses[best], rel=1e-5)
    patient = len(looks)
    looks.clear()
    network = linear()
    fit(
        network,
        ArrayInputs(x),
        task_of(y),
        split,
        s.model_copy(update={"patience": 2}),
        progress=look,
    )
    assert len(looks) < patient
    start = outputs_of(linear(), ArrayInputs(x), split.validation.tolist())
    losses = [float(target.loss(start, target.encode(y)[split.validation]))]
    losses += [found.validation for found in looks]
    worse = [loss >= min(losses[:i]) for i, loss in enumerate(losses) if i]
    waits = [all(worse[i : i + 2]) for i in range(len(worse) - 1)]
    assert waits.index(True) == len(waits) - 1  # two looks without a better loss are the last


def test_without_validation_the_last_state_stays():
    x, y = linear_data()
    looks = []
    split = split_of(60, validation=0.0)
    network = linear()
    s = S.model_copy(update={"patience": 1, "steps": 43})
    fit(network, ArrayInputs(x), task_of(y), split, s, progress=looks.append)
    assert [found.steps for found in looks] == [5, 10, 15, 20, 25, 30, 35, 40, 43]
    assert all(found.validation is None for found in looks)
    assert looks[-1].loss < looks[0].loss


def test_learned_values_come_back_in_their_unit():
    x, y = linear_data(200)
    y = 50 + 10 * y
    s = S.model_copy(update={"steps": 300, "weight_decay": 0.0, "batch_size": 32})
    split = split_of(200)
    found = fit_and_predict(linear(), ArrayInputs(x), task_of(y), split, s)
    design = np.column_stack([x, np.ones(200)])
    expected = design @ np.linalg.lstsq(design[split.train], y[split.train], rcond=None)[0]
    assert_allclose(found, expected[split.test], atol=2.0)  # of a spread of 24


def test_what_covariates_tell_is_added_to_predictions():
    x, y = linear_data(100)
    c = np.random.default_rng(3).standard_normal((100, 1))
    data = task_of(y + 20 * c[:, 0], covariates=c)
    s = S.model_copy(update={"steps": 200, "batch_size": 32})
    split = split_of(100)
    found = fit_and_predict(linear(), ArrayInputs(x), data, split, s)
    assert np.corrcoef(found, data.target[split.test])[0, 1] > 0.99
    assert abs((found - data.target[split.test]).mean()) < 1


def test_outputs_are_means_over_a_persons_inputs():
    class Several:
        def whole(self, rows):
            for place, row in enumerate(rows):
                count = row + 1
                yield [place] * count, (torch.arange(count * 2.0).reshape(count, 2) + row,)

    network = torch.nn.Linear(2, 3)
    found = outputs_of(network, Several(), [2, 0])
    x = torch.arange(6.0).reshape(3, 2) + 2
    assert_allclose(found[0], network(x).mean(0).detach(), rtol=1e-5)
    assert_allclose(found[1], network(torch.tensor([0.0, 1.0])).detach(), rtol=1e-5)
    with pytest.raises(ValueError, match="found none"):
        outputs_of(network, Several(), [])


def test_groups_have_their_factor_of_the_learning_rate():
    """The first step of AdamW moves every weight by its learning rate."""
    x, y = linear_data()
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 1))
    before = [p.detach().clone() for p in network.parameters()]
    groups = [Group(list(network[0].parameters()), 0.1), Group(list(network[1].parameters()))]
    s = S.model_copy(update={"steps": 1, "warmup": 1.0, "weight_decay": 0.0, "lr": 0.01})
    fit(network, ArrayInputs(x), task_of(y), split_of(60, validation=0), s, groups=groups)
    moved = [
        (p.detach() - b).abs().max().item()
        for p, b in zip(network.parameters(), before, strict=True)
    ]
    assert moved == pytest.approx([0.001, 0.001, 0.01, 0.01], rel=1e-3)


def test_frozen_weights_do_not_move():
    x, y = linear_data()
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 1))
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    s = S.model_copy(update={"weight_decay": 0.5, "steps": 5})
    fit(network, ArrayInputs(x), task_of(y), split_of(60), s)
    assert torch.equal(network[0].weight, before)


def test_a_loss_that_is_not_finite_is_refused():
    x, y = linear_data()
    x[3] = np.nan
    split = Split("s", 0, np.arange(20), np.arange(0), np.arange(20, 30))
    with pytest.raises(ValueError, match=r"'made-up': expected a finite loss, found nan by step"):
        fit(linear(), ArrayInputs(x), task_of(y), split, S)


@pytest.mark.parametrize("unusable", [range(40, 50), [45]], ids=["all", "one"])
def test_a_validation_loss_that_is_not_finite_is_refused(unusable):
    """It is never below the best one: the untrained network would pass for a trained one."""
    x, y = linear_data()
    x[list(unusable)] = np.nan
    split = Split("s", 0, np.arange(30), np.arange(40, 50), np.arange(30, 40))
    expected = (
        r"'made-up': expected a finite loss of the 10 validation people, found nan by step 5; "
        "lower lr, and check features for values that are not finite"
    )
    with pytest.raises(ValueError, match=expected):
        fit(linear(), ArrayInputs(x), task_of(y), split, S)


def test_a_probe_and_a_network_of_connectivity_refuse_it_too():
    x, y = linear_data()
    x[45] = 1e30  # its square is beyond float32
    split = Split("s", 0, np.arange(30), np.arange(40, 50), np.arange(30, 40))
    matrices = np.full((60, 8, 8), 0.1)
    matrices[45] = 1e30
    network = ConnectivityNetworkMethod(learners()["brainnetcnn"], matrices)
    for method in (ProbeMethod("probe", lambda data, rows: x), network):
        with pytest.raises(ValueError, match="finite loss of the 10 validation people"):
            method.predict(task_of(y), split)
