"""What holds of every family: nobody hears of others, nothing is read where nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from small_runs import PATCH, PROVENANCE, People, make_recipe, small_model
from torch import Tensor

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.models.checkpoint import read_model, write_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes
from brainjepa_core.models.registry import SHIPPED, family_named
from brainjepa_core.pretraining.computing.settings import EXACT
from brainjepa_core.pretraining.sampling import Batch, batches_of_step
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.gradient import ClippedGradients

GPU = torch.device("cuda")
AGE = {"phenotypes": [{"column": "age", "mean": 40, "sd": 20}]}
# A family of volumes has tests of its own, of the same (`swift/test_model.py`).
SERIES = [name for name in SHIPPED if name != "swift"]
LEARNERS = [f for f in SHIPPED if issubclass(family_named(f).settings, LearnsPhenotypes)]
CHOICES = dict.fromkeys(LEARNERS, AGE)


class ToldPeople(People):
    """Of whom an age is known."""

    told_columns = None

    @property
    def people(self):
        return [
            SimpleNamespace(records=[SimpleNamespace(phenotypes={"age": f"{20 + 9 * i}"})])
            for i in range(self.subjects)
        ]


def made(family: str) -> tuple[BrainModel, Batch]:
    """A model in float64 off its start, and a batch of people who miss this and that."""
    model = small_model(family, **CHOICES.get(family, {})).double()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    people = ToldPeople(ragged=True)
    (batch,) = batches_of_step(people, model, make_recipe(batch_size=5), 3)
    return model, Batch(batch.x.double(), batch.token_valid, batch.draws)


def losses(model: BrainModel, batch: Batch, rows: slice = slice(None)) -> torch.Tensor:
    draws = {name: None if v is None else v[rows] for name, v in batch.draws.items()}
    valid = None if batch.token_valid is None else batch.token_valid[rows]
    return model.sample_losses(batch.x[rows], token_valid=valid, **draws)


@pytest.mark.parametrize("family", SERIES)
def test_a_loss_and_an_embedding_are_those_of_one_person_alone(family):
    model, batch = made(family)
    assert batch.token_valid is not None
    together, tokens = losses(model, batch), model.encode(batch.x, batch.token_valid)
    assert together.shape == (5,)
    for i in range(5):
        one = slice(i, i + 1)
        assert torch.allclose(losses(model, batch, one), together[one], rtol=1e-9)
        alone = model.encode(batch.x[one], batch.token_valid[one])
        assert torch.allclose(alone, tokens[one], rtol=0, atol=1e-9)


# A person JEPA evens out whole windows, which hold 0 where nothing is known.
@pytest.mark.parametrize("family", [name for name in SERIES if name != "person_jepa"])
def test_what_is_not_known_is_not_read(family):
    model, batch = made(family)
    valid = batch.token_valid
    known = valid[..., None].expand(-1, -1, PATCH).reshape(batch.x.shape)
    other = Batch(torch.where(known, batch.x, 3.0), valid, batch.draws)
    assert not torch.equal(other.x, batch.x)
    assert torch.allclose(losses(model, other), losses(model, batch), rtol=1e-9)
    a, b = (model.encode(x, valid)[valid] for x in (batch.x, other.x))
    assert torch.allclose(a, b, rtol=0, atol=1e-9)
    for row in range(5):
        index = valid[row].nonzero()[:, 0][None]
        a, b = (model.latents(x[row : row + 1], index) for x in (batch.x, other.x))
        assert a.shape[:2] == index.shape and torch.allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", SERIES)
def test_tokens_are_of_rois_at_times_and_depend_on_the_signal(family):
    model, batch = made(family)
    tokens = model.encode(batch.x)
    assert tokens.shape[:2] == (5, model.settings.tokens)
    assert model.latents(batch.x).shape[:2] == tokens.shape[:2]
    assert not torch.allclose(model.encode(batch.x.flip(0)), tokens)
    pooled = model.embed(batch.x, model.settings.published_pool)
    assert pooled.shape[0] == 5 and pooled.std(0).max() > 0


@pytest.mark.parametrize(
    ("family", "recipe"), [(f, r) for f in SERIES for r in family_named(f).settings.recipes]
)
def test_the_pool_that_models_are_compared_by_tells_people_apart(family, recipe):
    model = small_model(family, recipe=recipe, **CHOICES.get(family, {}))
    tokens = model.encode(torch.randn(3, 6, 12)).unflatten(1, (6, -1))
    assert (tokens == tokens[:, :, :1]).all() == model.settings.still
    networks = torch.tensor([0, 0, 1, 1, 2, 2])
    found = model.embed(torch.randn(3, 6, 12), HEADLINE, networks=networks)
    assert found.shape == (3, 6) and found.std(0).max() > 1e-6 * found.abs().max()


@pytest.mark.parametrize("family", SERIES)
def test_written_and_read_again(family, tmp_path):
    model = small_model(family, **CHOICES.get(family, {}))
    write_model(tmp_path / "model", model, PROVENANCE)
    again, told = read_model(tmp_path / "model")
    assert type(again) is type(model) and again.settings == model.settings and told == PROVENANCE
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    x = torch.randn(2, 6, 12)
    assert torch.equal(model.encode(x), again.encode(x))


def gradients(model: BrainModel, batch: Batch) -> Iterator[Tensor]:
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses(model, batch).sum(), trained, allow_unused=True)
    return (torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("family", SERIES)
def test_losses_gradients_and_tokens_are_a_processors(family):
    model, batch = made(family)
    expected, tokens = losses(model, batch).detach(), model.encode(batch.x, batch.token_valid)
    slopes = [g.clone() for g in gradients(model, batch)]
    model, there = model.to(GPU), batch.to(GPU)
    assert torch.allclose(losses(model, there).cpu(), expected, rtol=1e-8)
    assert torch.allclose(model.encode(there.x, there.token_valid).cpu(), tokens, atol=1e-8)
    largest = max(float(g.abs().max()) for g in slopes)
    for found, slope in zip(gradients(model, there), slopes, strict=True):
        assert torch.allclose(found.cpu(), slope, rtol=1e-7, atol=1e-8 * largest)


@pytest.mark.gpu
@pytest.mark.parametrize("family", SERIES)
def test_a_step_never_waits_for_the_gpu(family):
    model, people = small_model(family, **CHOICES.get(family, {})), ToldPeople(ragged=True)
    training = Training(model, make_recipe(clip_norm=1.0), "cuda")
    first, *others = (batches_of_step(people, model, training.settings, i) for i in range(3))
    training.advance(first)  # kernels are loaded at their first use
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in others:
            training.advance(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.first_bad_step() is None and training.step == 3


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # privacy/gradient.py
@pytest.mark.parametrize("family", ["brain_jepa", "brainlm", "brainmass", "csm", "person_jepa"])
def test_clipped_gradients_of_people_are_a_processors(family):
    pytest.importorskip("opacus")
    model, batch = made(family)
    found = []
    for device in (torch.device("cpu"), GPU):
        clipped = ClippedGradients(model.to(device), make_recipe(), 0.05, device, EXACT)
        (parts,) = clipped([batch])
        found.append(sum((part.factors @ part.rows).cpu() for part in parts))
    assert found[0].abs().max() > 1e-3
    assert torch.allclose(found[1], found[0], rtol=1e-7, atol=1e-9)
