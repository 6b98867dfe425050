"""The gradient of a private step against single people, one backward pass each, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from opacus import GradSampleModule
from small_runs import SIZES, People, make_model, make_recipe
from torch import Tensor

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.sampling import Batch, batches_of_step
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy import gradient as private
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # see gradient.py

SECRET = RequestSecret(bytes(range(32)), "request")
SILENT = 1e-30  # noise that no float64 shows beside a gradient
CPU = torch.device("cpu")
TOLERANCE = 1e-9

CASES = {
    "one mask": dict(people=5),
    "three masks": dict(people=4, masks=3),
    "missing ROI and padded frames": dict(people=5, ragged=True),
    "as many people as ROIs, padded, three masks": dict(people=6, masks=3, ragged=True),
    "one person": dict(people=1),
    "micro-batches": dict(people=5, accumulation=2),
    "published recipe": dict(people=4, recipe="published"),
    "masked autoencoder": dict(people=6, family="masked_autoencoder", ragged=True),
    "brainmass": dict(people=6, family="brainmass", ragged=True),
    "csm": dict(people=6, family="csm", ragged=True),
    "brainlm": dict(people=6, family="brainlm", ragged=True),
    "brainlm, published": dict(people=5, family="brainlm", ragged=True, recipe="published"),
    "person": dict(people=5, family="person_jepa"),
    "person, missing ROI and padded frames, as many people as ROIs": dict(
        people=6, family="person_jepa", ragged=True
    ),
    "person, without blocks, micro-batches": dict(
        people=5, family="person_jepa", depth=0, accumulation=2
    ),
}


def make(
    people: int,
    masks: int = 1,
    ragged: bool = False,
    accumulation: int = 1,
    family: str = "brain_jepa",
    recipe: str = "default",
    depth: int = SIZES["depth"],
    **choices,
) -> tuple[BrainModel, object, list[Batch]]:
    """A model in float64 off its start, a recipe, and the micro-batches of all people."""
    torch.manual_seed(0)
    shape = family_named(family).settings
    sizes = {
        k: v for k, v in {**SIZES, "depth": depth, "reduced": 8}.items() if k in shape.model_fields
    }
    settings = shape.preset("tiny", rois=6, recipe=recipe, **sizes)
    model = family_named(family).new(settings, torch.randn(6, 2)).double()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    size = -(-people // accumulation) * accumulation
    recipe = make_recipe(
        batch_size=size,
        accumulation=accumulation,
        masks=MaskSettings(masks_per_sample=masks),
        **choices,
    )
    batches = batches_of_step(People(people, ragged), model, recipe, step=3)
    doubled = [Batch(batch.x.double(), batch.token_valid, batch.draws) for batch in batches]
    return model, recipe, doubled


def found(
    model, recipe, batches, clip: float, noise: float = SILENT, step: int = 0, computing=EXACT
):
    protection = PrivacySettings(clip=clip, noise=noise)
    gradient = PrivateGradient(model, recipe, protection, SECRET, step, CPU, computing)
    loss = gradient(batches)
    return {name: p.grad.clone() for name, p in gradient.trained.items()}, loss


def single_people(model: BrainModel, batches: list[Batch]) -> list[dict[str, Tensor]]:
    """Each person's gradient by a backward pass of its own."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for batch in batches:
        for i in range(len(batch.x)):
            one = {
                name: None if value is None else value[i : i + 1]
                for name, value in {**batch.draws, "token_valid": batch.token_valid}.items()
            }
            losses = model.sample_losses(batch.x[i : i + 1], **one)
            gradients = torch.autograd.grad(losses.sum(), list(trained.values()))
            rows.append(dict(zip(trained, gradients, strict=True)))
    return rows


def norm(row: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in row.values()))


def clipped_sum(rows: list[dict[str, Tensor]], clip: float) -> dict[str, Tensor]:
    factors = [min(1.0, clip / norm(row)) for row in rows]
    return {
        name: sum(f * row[name] for f, row in zip(factors, rows, strict=True)) for name in rows[0]
    }


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_clipped_sum_of_single_people_over_the_expected_batch(case):
    model, recipe, batches = make(**CASES[case])
    rows = single_people(model, batches)
    clip = sorted(norm(row) for row in rows)[len(rows) // 2]  # some are clipped, some are not
    expected = clipped_sum(rows, clip)
    gradients, _ = found(model, recipe, batches, clip)
    assert gradients.keys() == expected.keys()
    for name, g in gradients.items():
        assert torch.allclose(g, expected[name] / recipe.batch_size, rtol=0, atol=TOLERANCE), name
        assert g.abs().max() > 0, f"{name} has no gradient to compare"


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("case", ["three masks", "as many people as ROIs, padded, three masks"])
def test_it_is_what_opacus_hooks_give(case):
    model, recipe, batches = make(**CASES[case])
    gradients, _ = found(model, recipe, batches, clip=0.05)
    (batch,) = batches
    wrapped = GradSampleModule(model, loss_reduction="sum")
    wrapped(batch.x, **batch.draws, token_valid=batch.token_valid).sum().backward()
    samples = {n: p.grad_sample for n, p in model.named_parameters() if p.requires_grad}
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in samples.values()]).norm(dim=0)
    assert norms.min() > 0.05
    for name, g in samples.items():
        expected = torch.einsum("b,b...->...", 0.05 / norms, g) / recipe.batch_size
        assert torch.allclose(gradients[name], expected, rtol=0, atol=TOLERANCE), name


def test_nobody_moves_it_by_more_than_the_clip_over_the_batch():
    model, recipe, batches = make(people=6, ragged=True)
    (batch,) = batches
    all_of_them, _ = found(model, recipe, batches, clip=0.1)
    for i in range(6):
        kept = [place for place in range(6) if place != i]
        fewer = Batch(
            batch.x[kept],
            batch.token_valid[kept],
            {k: None if v is None else v[kept] for k, v in batch.draws.items()},
        )
        without, _ = found(model, recipe, [fewer], clip=0.1)
        moved = norm({name: g - without[name] for name, g in all_of_them.items()})
        assert moved <= 0.1 / 6 * (1 + 1e-9)


def test_chunks_of_people_change_nothing(monkeypatch):
    model, recipe, batches = make(people=5, ragged=True, masks=3)
    whole, loss = found(model, recipe, batches, clip=0.1)
    monkeypatch.setattr(private, "CHUNK_BYTES", 1)  # each person alone
    alone, same = found(model, recipe, batches, clip=0.1)
    assert torch.allclose(loss, same, rtol=0, atol=1e-12)
    assert all(torch.allclose(g, alone[n], rtol=0, atol=TOLERANCE) for n, g in whole.items())


def test_an_empty_batch_is_noise_alone():
    model, recipe, _ = make(people=4)
    gradients, loss = found(model, recipe, [], clip=0.5, noise=2.0)
    values = torch.cat([g.flatten() for g in gradients.values()])
    assert loss == 0 and len(values) > 1000
    spread = 2.0 * 0.5 / recipe.batch_size
    assert abs(float(values.std()) / spread - 1) < 4 / math.sqrt(2 * len(values))
    assert abs(float(values.mean())) < 4 * spread / math.sqrt(len(values))


def test_noise_is_added_once_a_step_whatever_the_micro_batches():
    model, recipe, batches = make(people=5, accumulation=2)
    silent, _ = found(model, recipe, batches, clip=0.1)
    loud, _ = found(model, recipe, batches, clip=0.1, noise=3.0)
    alone, _ = found(model, recipe, [], clip=0.1, noise=3.0)
    for name, g in loud.items():
        assert torch.allclose(g - silent[name], alone[name], rtol=0, atol=TOLERANCE), name


def test_each_step_and_request_has_noise_of_its_own_and_a_repetition_the_same():
    model, recipe, _ = make(people=4)

    def noise(step: int, secret: RequestSecret = SECRET) -> Tensor:
        protection = PrivacySettings(noise=1.0)
        gradient = PrivateGradient(model, recipe, protection, secret, step, CPU)
        gradient([])
        return torch.cat([p.grad.flatten() for p in gradient.trained.values()])

    assert torch.equal(noise(0), noise(0))
    others = [noise(1), noise(0, RequestSecret(SECRET.secret, "another"))]
    others.append(noise(0, RequestSecret(bytes(32), "request")))
    for other in others:
        correlation = float(torch.corrcoef(torch.stack([noise(0), other]))[0, 1])
        assert abs(correlation) < 4 / math.sqrt(len(other))
    gradient = PrivateGradient(model, recipe, PrivacySettings(noise=1.0), SECRET, 0, CPU)
    gradient([])
    gradient([])  # the second call is the second step
    second = torch.cat([p.grad.flatten() for p in gradient.trained.values()])
    assert torch.equal(second, noise(1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_a_person_whose_gradient_is_no_number_counts_nothing(value):
    model, recipe, batches = make(people=4)
    (batch,) = batches
    rows = single_people(model, batches)
    batch.x[2] = value
    gradients, loss = found(model, recipe, batches, clip=0.1)
    if not math.isfinite(value):
        expected = clipped_sum([rows[0], rows[1], rows[3]], 0.1)
        for name, g in gradients.items():
            assert torch.allclose(g, expected[name] / 4, rtol=0, atol=TOLERANCE), name
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in gradients.values())


def test_training_goes_on_past_such_a_person_and_tells_of_no_bad_step():
    model, recipe = make_model(), make_recipe()
    protection = PrivacySettings(noise=1.0)
    training = Training(
        model, recipe, gradient=PrivateGradient(model, recipe, protection, SECRET, 0, CPU)
    )
    for step in range(3):
        training.advance(batches_of_step(People(broken=1), model, recipe, step))
    training.advance([])
    assert training.first_bad_step() is None and training.step == 4


@pytest.mark.parametrize(
    "family", ["brain_jepa", "masked_autoencoder", "person_jepa", "brainmass", "brainlm"]
)
def test_bf16_is_within_a_hundredth_and_clips_in_float32(family):
    model, recipe, batches = make(people=6, family=family, ragged=True)
    model.float()
    single = [Batch(b.x.float(), b.token_valid, b.draws) for b in batches]
    exact, _ = found(model, recipe, single, clip=0.3)
    rounded, _ = found(model, recipe, single, clip=0.3, computing=Computing(precision="bf16"))
    assert {g.dtype for g in rounded.values()} == {torch.float32}
    difference = norm({name: g - rounded[name] for name, g in exact.items()})
    assert 0 < difference < 0.01 * norm(exact)


def test_central_noise_of_the_honest_sites_adds_up_to_the_whole():
    whole = PrivacySettings(noise=3.0)
    shared = PrivacySettings(noise=3.0, where="central", honest_sites=9)
    assert whole.site_noise == 3.0 and shared.site_noise == pytest.approx(1.0)
    assert 9 * shared.site_noise**2 == pytest.approx(whole.noise**2)


def test_it_never_waits_for_the_device(monkeypatch):
    model, recipe = make_model(), make_recipe()
    gradient = PrivateGradient(model, recipe, PrivacySettings(noise=1.0), SECRET, 0, CPU)
    batches = batches_of_step(People(ragged=True), model, recipe, 0)

    def wait(*_: object) -> None:
        raise AssertionError("a value was asked of the device")

    names = ("item", "tolist", "numpy", "nonzero", "__float__", "__int__", "__bool__", "__index__")
    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(torch.Tensor, name, wait)
        gradient(batches)


def test_what_is_not_of_single_people_is_refused():
    private = PrivacySettings(noise=1.0)
    text = "expected no training.clip_norm with differential privacy, found 2"
    with pytest.raises(ValueError, match=text):
        PrivateGradient(make_model(), make_recipe(clip_norm=2.0), private, SECRET, 0, CPU)
    choices = Computing(precision="bf16", compile=True)
    text = (
        "expected neither compile: true nor attention: packed where a study is under differential "
        "privacy, found precision: bf16 and compile: true; .*: set compile: false and attention: fu"
    )
    with pytest.raises(ValueError, match=text):
        PrivateGradient(make_model(), make_recipe(), private, SECRET, 0, CPU, choices)


def test_the_blank_response_is_computed_once_a_step(monkeypatch):
    model, recipe = make_model(), make_recipe(batch_size=4, accumulation=4)
    gradient = PrivateGradient(model, recipe, PrivacySettings(noise=1.0), SECRET, 0, CPU)
    passes, blank = [], model.blank_response
    monkeypatch.setattr(model, "blank_response", lambda: passes.append(1) or blank())
    gradient(batches_of_step(People(), model, recipe, 0))
    assert len(passes) == 1
    gradient([])
    assert len(passes) == 1  # nobody was drawn
