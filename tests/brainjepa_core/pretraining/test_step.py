"""One optimiser step against a loop written out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from small_runs import People, bits, make_model, make_recipe, make_training, same

from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.pretraining.sampling import Batch, batches_of_step
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.step import Training, make_optimizer, trained_parameters


def batches(training: Training, step: int, people: People | None = None) -> list[Batch]:
    people = people or People()
    return batches_of_step(people, training.model, training.settings, step)


def close(a, b, tolerance: float = 1e-5) -> bool:
    return all(
        torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in zip(a, b, strict=True)
    )


def by_hand(training: Training, steps: int, clip: float | None = None) -> torch.nn.Module:
    """The same steps with single-tensor AdamW, one optimiser for each kind of parameter."""
    model, recipe = copy.deepcopy(training.model), training.settings
    decayed, plain = [], []
    for part in (model.encoder, model.predictor):
        for name, p in part.named_parameters():
            weight = name.endswith("weight") and "norm" not in name
            (decayed if weight else plain).append(p)
    options = dict(lr=0.0, betas=recipe.betas, foreach=False, fused=False)
    optimizers = [
        torch.optim.AdamW(decayed, weight_decay=0.0, **options),
        torch.optim.AdamW(plain, weight_decay=0.0, **options),
    ]
    for step in range(steps):
        values = values_at(recipe.schedule, step)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = values.lr
            optimizer.zero_grad()
        optimizers[0].param_groups[0]["weight_decay"] = values.weight_decay
        for b in batches(training, step):
            (model(b.x, **b.draws).mean() / recipe.accumulation).backward()
        if clip is not None:
            grads = [p.grad for p in decayed + plain]
            norm = sum(float(g.square().sum()) for g in grads) ** 0.5
            assert norm > clip  # or the setting would be tested by nothing
            for g in grads:
                g.mul_(clip / norm)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            pairs = zip(model.target_encoder.parameters(), model.encoder.parameters(), strict=True)
            for target_p, p in pairs:
                target_p.copy_(values.momentum * target_p + (1 - values.momentum) * p)
    return model


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_steps_by_hand(accumulation, clip):
    schedule = {"weight_decay": 0.5, "final_weight_decay": 2.0}
    training = make_training(
        accumulation=accumulation, clip_norm=clip, schedule=schedule, betas=(0.8, 0.95)
    )
    start = copy.deepcopy(training.model)
    expected = by_hand(training, 3, clip)
    for step in range(3):
        training.advance(batches(training, step))
    assert close(training.model.parameters(), expected.parameters())
    assert not close(training.model.parameters(), start.parameters(), 1e-3)
    assert training.step == 3


def test_the_target_moves_by_the_momentum_of_the_step():
    training = make_training()
    before = copy.deepcopy(training.model.target_encoder)
    training.advance(batches(training, 0))
    momentum = values_at(training.settings.schedule, 0).momentum
    pairs = zip(before.parameters(), training.model.encoder.parameters(), strict=True)
    expected = [momentum * old + (1 - momentum) * new for old, new in pairs]
    assert close(training.model.target_encoder.parameters(), expected, 1e-6)
    assert not close(training.model.target_encoder.parameters(), before.parameters(), 1e-6)


def test_four_micro_batches_equal_one_batch():
    whole = make_training(batch_size=8)
    parts = make_training(batch_size=8, accumulation=4)
    for step in range(3):
        a = whole.advance(batches(whole, step, People(subjects=9)))
        given = batches(parts, step, People(subjects=9))
        assert len(given) == 4
        assert torch.allclose(a, parts.advance(given), rtol=1e-5)
    # AdamW divides by the root of a gradient that may be rounding: compare what it moves.
    assert close(whole.model.parameters(), parts.model.parameters(), 1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_blank_response_is_computed_once_a_step_with_the_same_bits(monkeypatch, precision):
    """Against losses that compute it for themselves, as those of whoever gives none."""
    once, each = (
        make_training(batch_size=8, accumulation=4, computing=Computing(precision=precision))
        for _ in range(2)
    )
    each.gradient._constants = dict
    passes = []
    for name, training in (("once", once), ("each", each)):
        blank = training.model.blank_response

        def counted(blank=blank, name=name) -> torch.Tensor:
            passes.append(name)
            return blank()

        monkeypatch.setattr(training.model, "blank_response", counted)
    for step in range(2):
        given = batches(once, step, People(subjects=9, ragged=True))
        assert torch.equal(once.advance(given), each.advance(given))
    assert passes.count("once") == 2 and passes.count("each") == 8
    assert same(bits(once), bits(each))


def test_every_person_of_a_small_site_counts_the_same():
    """Five people in micro-batches of two, two and one."""
    whole = make_training(batch_size=8)
    parts = make_training(batch_size=8, accumulation=4)
    a = whole.advance(batches(whole, 0))
    given = batches(parts, 0)
    assert [len(batch.x) for batch in given] == [2, 2, 1]
    assert torch.allclose(a, parts.advance(given), rtol=1e-5)
    assert close(whole.model.parameters(), parts.model.parameters(), 1e-4)


def test_another_gradient_takes_the_place_of_the_mean():
    """Half the gradient by plain gradient descent is half the step."""
    choices = {
        "optimizer": "sgd",
        "schedule": {"lr": 0.1, "weight_decay": 0.0, "final_weight_decay": 0.0},
    }
    plain, halved = make_training(**choices), make_training(**choices)
    start = copy.deepcopy(plain.model)
    mean = halved.gradient

    def half(given: list[Batch]) -> torch.Tensor:
        loss = mean(given)
        for parameter in trained_parameters(halved.model):
            parameter.grad.mul_(0.5)
        return loss

    other = Training(halved.model, halved.settings, gradient=half)
    loss = plain.advance(batches(plain, 0))
    assert torch.equal(loss, other.advance(batches(other, 0))) and other.step == 1
    moves = zip(*map(trained_parameters, (start, plain.model, other.model)), strict=True)
    assert all(torch.allclose((b - a) / 2, c - a, atol=1e-6) for a, b, c in moves)


def test_the_loss_is_that_of_the_weights_before_the_step():
    training = make_training(accumulation=2)
    model, given = copy.deepcopy(training.model), batches(training, 0)
    expected = torch.stack([model(b.x, **b.draws).mean() for b in given])
    found = training.advance(given)
    assert torch.allclose(found, expected.mean())
    assert found.dim() == 0 and not found.requires_grad
    assert all(p.grad is None for p in training.model.parameters())


def test_only_matrices_of_encoder_and_predictor_decay():
    model = make_model()
    decayed, plain = (
        {id(p) for p in group["params"]}
        for group in make_optimizer(model, make_recipe()).param_groups
    )
    for name, p in model.named_parameters():
        if name.startswith("target_encoder."):
            assert id(p) not in decayed | plain, name
        elif name.endswith(".bias") or "norm" in name:
            assert id(p) in plain - decayed, name
        else:
            assert id(p) in decayed - plain, name
    assert len(decayed) + len(plain) == sum(p.requires_grad for p in model.parameters())


def test_decay_alone_shrinks_matrices_and_leaves_the_rest():
    schedule = {"weight_decay": 10.0, "final_weight_decay": 10.0}
    training = make_training(schedule=schedule)
    plain = make_training(schedule={"weight_decay": 0.0, "final_weight_decay": 0.0})
    lr = values_at(training.settings.schedule, 0).lr
    start = {name: p.clone() for name, p in training.model.named_parameters()}
    for t in (training, plain):
        t.advance(batches(t, 0))
    others = dict(plain.model.named_parameters())
    for name, p in training.model.named_parameters():
        if not name.startswith("target_encoder."):
            expected = others[name] - lr * 10.0 * start[name] if p.ndim > 1 else others[name]
            assert torch.allclose(p, expected, atol=1e-6), name


def test_ragged_people_train_and_padding_is_not_learned_from():
    training, people = make_training(batch_size=5), People(ragged=True)
    (batch,) = batches(training, 0, people)
    assert batch.draws["context_valid"] is not None and batch.token_valid is not None
    noisy = copy.deepcopy(batch)
    patches = noisy.x.view(5, -1, training.model.settings.patch)
    patches[~batch.token_valid] = 7.0  # values of tokens that do not exist
    other = make_training(batch_size=5)
    assert torch.equal(training.advance([batch]), other.advance([noisy]))
    assert close(training.model.parameters(), other.model.parameters(), 1e-6)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_advance_never_waits_for_the_device(monkeypatch, clip, precision):
    training = make_training(
        accumulation=2, clip_norm=clip, computing=Computing(precision=precision)
    )
    given = [batches(training, step, People(ragged=True)) for step in range(2)]

    def wait(*_: object) -> None:
        raise AssertionError("a value was asked of the device")

    names = ("item", "tolist", "numpy", "nonzero", "__float__", "__int__", "__bool__", "__index__")
    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(torch.Tensor, name, wait)
        for step in given:
            training.advance(step)
    assert training.first_bad_step() is None and training.step == 2


@pytest.mark.gpu
def test_advance_never_waits_for_a_gpu():
    training = Training(make_model(), make_recipe(clip_norm=1.0), "cuda")
    given = [batches(training, step, People(ragged=True)) for step in range(3)]
    training.advance(given[0])  # kernels are loaded at their first use
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in given[1:]:
            training.advance(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.first_bad_step() is None


def test_bf16_keeps_weights_and_moments_in_fp32():
    exact, half = make_training(), make_training(computing=Computing(precision="bf16"))
    a, b = (t.advance(batches(t, 0)) for t in (exact, half))
    assert a != b and torch.allclose(a, b, rtol=0.02)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    kept = {v.dtype for state in half.optimizer.state.values() for v in state.values()}
    assert kept == {torch.float32}


def test_the_first_bad_step_is_remembered():
    training = make_training()
    assert training.first_bad_step() is None
    for step in range(4):
        given = batches(training, step)
        if step == 2:
            given[0].x[0] = torch.inf
        training.advance(given)
        assert training.first_bad_step() == (None if step < 2 else 2)
    training.resume(1)
    assert training.step == 1 and training._first_bad == torch.iinfo(torch.int64).max


def test_an_update_that_overflows_is_bad_though_its_loss_was_finite():
    training = make_training()
    training.advance(batches(training, 0))
    weight = training.model.predictor.head.weight
    handle = weight.register_hook(lambda gradient: gradient * torch.inf)
    assert torch.isfinite(training.advance(batches(training, 1)))
    handle.remove()
    assert training.first_bad_step() == 1
