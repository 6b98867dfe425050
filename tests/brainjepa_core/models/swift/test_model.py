"""SwiFT as a family: what it draws, whom it compares, where ROIs are, and that it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_volumes import GRID, ROIS, of_people, volume_store
from pydantic import ValidationError
from scipy.ndimage import affine_transform, gaussian_filter

from brainjepa_core.atlas import load_atlas
from brainjepa_core.models.adapters import with_adapters, without_adapters
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.swift.augmenting import Changes, augmented, draw_changes
from brainjepa_core.models.swift.contrast import time_contrast
from brainjepa_core.models.swift.model import SwiftModel
from brainjepa_core.models.swift.settings import SwiftSettings
from brainjepa_core.pretraining.local import pretrain_locally
from brainjepa_core.pretraining.model_windows import read_windows
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.privacy.gradient import ClippedGradients
from brainjepa_core.privacy.settings import require_own_losses

SIZES = {
    "volume": GRID.size, "mm": GRID.mm, "cube": 2, "window": 2, "width": 4, "depths": (1, 1),
    "heads": (1, 2), "projection": 6,
}  # fmt: skip
AGE = {"phenotypes": ({"column": "age", "mean": 40.0, "sd": 20.0},)}
CENTRES = torch.tensor(load_atlas().centroids[: len(ROIS)], dtype=torch.float32)


def made(**choices) -> SwiftModel:
    torch.manual_seed(0)
    model = SwiftModel(SwiftSettings(rois=6, frames=4, **SIZES, **choices), CENTRES).double()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def study(**choices) -> PretrainingSettings:
    return PretrainingSettings.model_validate(
        {
            "family": "swift",
            "model": {**SIZES, **choices},
            "windows": {"frames": 4, "temporal": "official"},
            "basis": {"kind": "centroids"},
            "training": {
                "batch_size": 6,
                "schedule": {"total_steps": 60, "warmup_steps": 5, "lr": 0.01, "final_lr": 0.001},
            },
        }
    )


def windows(people: int) -> torch.Tensor:
    return torch.randn(people, 4, *GRID.size, dtype=torch.float64)


def test_what_is_drawn_is_of_the_step_and_the_sample_alone():
    model = made()

    def drawn(step, samples, seed=0):
        told = MaskSettings()
        return model.draw(told, seed=seed, step=step, samples=samples, token_valid=None)

    together, alone = drawn(3, [5, 9]), drawn(3, [9])
    assert together["placing"].shape == (2, 2, 2, 3, 4)
    assert all(torch.equal(part[1:], alone[name]) for name, part in together.items())
    for other in (drawn(4, [9]), drawn(3, [9], seed=1), drawn(3, [8])):
        assert not torch.equal(other["placing"], alone["placing"])
    many = draw_changes(GRID.size, seed=0, step=0, samples=range(2000))
    assert (many.noise > 0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert (many.smoothing > 0).float().mean() == pytest.approx(0.1, abs=0.02)
    assert many.smoothing[many.smoothing > 0].min() >= 0.25 and many.smoothing.max() <= 1.5
    lengths = many.placing[..., :3].norm(dim=-2)  # of columns: scales about 1
    assert 0.9 <= lengths.min() < 0.91 and 1.09 < lengths.max() <= 1.1
    assert made(**AGE).draw(MaskSettings(), seed=0, step=0, samples=[0], token_valid=None) == {}


def changes(size, *, noise=0.0, smoothing=0.0, still=True) -> Changes:
    drawn = draw_changes(size, seed=1, step=2, samples=[3])
    placing = torch.eye(4)[None, :3] if still else drawn.placing[:, 0, 0]
    return Changes(
        placing.double(), torch.tensor([noise]), torch.tensor([smoothing]).double(),
        drawn.seed[:, 0, 0],
    )  # fmt: skip


def test_augmentations_by_scipy():
    size = (9, 7, 6)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    assert torch.allclose(augmented(x, changes(size)), x, atol=1e-12)
    blurred = augmented(x, changes(size, smoothing=0.8))
    inner = (slice(None), slice(2, -2), slice(2, -2), slice(2, -2))
    for frame, found in zip(x[0].numpy(), blurred[0].numpy(), strict=True):
        kernel = {"sigma": 0.8, "mode": "constant", "truncate": 20.0}
        expected = gaussian_filter(frame, **kernel) / gaussian_filter(np.ones(size), **kernel)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    noisy = augmented(x, changes(size, noise=0.1)) - x
    assert noisy.std() == pytest.approx(0.1, rel=0.1) and abs(noisy.mean()) < 0.01
    assert torch.equal(noisy, augmented(x, changes(size, noise=0.1)) - x)
    turned = changes(size, still=False)
    moved = augmented(x, turned)
    half = np.array(size[::-1]) / 2
    of_voxels = turned.placing[0, :, :3].numpy() * half[:, None] / half  # about the middle, z y x
    matrix = of_voxels[::-1, ::-1]
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=0), 1, atol=0.11)
    middle = (np.array(size) - 1) / 2
    for frame, found in zip(x[0].numpy(), moved[0].numpy(), strict=True):
        told = {"offset": middle - matrix @ middle, "order": 1, "mode": "nearest"}
        np.testing.assert_allclose(
            found[inner[1:]], affine_transform(frame, matrix, **told)[inner[1:]], atol=1e-9
        )


def test_the_contrast_is_of_two_windows_in_two_augmentations():
    model = made()
    one, two = windows(3), windows(3)
    drawn = model.draw(MaskSettings(), seed=0, step=1, samples=[4, 7, 2], token_valid=None)
    drawn = {n: v if n == "seed" else v.double() for n, v in drawn.items()}
    losses = model.sample_losses(one, other=two, **drawn)
    views = []
    for view in range(2):
        of_view = [
            augmented(x[i : i + 1], Changes(**{n: v[i : i + 1, w, view] for n, v in drawn.items()}))
            for i in range(3)
            for w, x in enumerate((one, two))
        ]
        placed = model.head(model.encoder.features(torch.cat(of_view)))
        views.append(placed.reshape(3, 2, -1))
    assert losses.shape == (3,) and torch.allclose(losses, time_contrast(*views), rtol=1e-9)
    assert not torch.allclose(losses[:1], model.sample_losses(
        one[:1], other=two[:1], **{n: v[:1] for n, v in drawn.items()}
    ))  # fmt: skip
    with pytest.raises(ValueError, match="found one that compares or normalises people of a mic"):
        require_own_losses(model.settings)


@pytest.mark.gpu
def test_on_a_gpu_the_contrast_is_a_processors():
    model, found = made(), []
    one, two = windows(3), windows(3)
    drawn = model.draw(MaskSettings(), seed=0, step=1, samples=[4, 7, 2], token_valid=None)
    drawn = {n: v if n == "seed" else v.double() for n, v in drawn.items()}
    drawn["noise"] = torch.zeros_like(drawn["noise"])  # another kind of device draws other numbers
    for device in ("cpu", "cuda"):
        model = model.to(device)
        there = {name: value.to(device) for name, value in {"other": two, **drawn}.items()}
        losses = model.sample_losses(one.to(device), **there)
        slopes = torch.autograd.grad(losses.sum(), list(model.parameters()), allow_unused=True)
        found.append([losses.detach().cpu(), *(g.cpu() for g in slopes if g is not None)])
    for here, there in zip(*found, strict=True):
        assert torch.allclose(there, here, rtol=1e-7, atol=1e-8 * float(here.abs().max()))


def test_phenotypes_are_learned_of_one_person_alone_and_padding_is_not_read():
    model = made(**AGE)
    require_own_losses(model.settings)
    x, told = windows(3), torch.tensor([[0.5], [-1.0], [float("nan")]], dtype=torch.float64)
    valid = torch.ones(3, 6, 4, dtype=torch.bool)
    valid[1, :, 2:] = valid[2, 3] = False
    valid = valid.flatten(1)
    together, tokens = model.sample_losses(x, told=told, token_valid=valid), model.encode(x, valid)
    assert together[2] == 0 and tokens.shape == (3, 24, 8)
    other = x.clone()
    other[1, 2:] = 7.0
    assert torch.allclose(model.sample_losses(other, told=told, token_valid=valid), together)
    assert torch.allclose(model.encode(other, valid)[valid], tokens[valid], atol=1e-9)
    for i in range(3):
        row = slice(i, i + 1)
        alone = model.sample_losses(x[row], told=told[row], token_valid=valid[row])
        assert torch.allclose(alone, together[row], rtol=1e-9)
        assert torch.allclose(model.encode(x[row], valid[row]), tokens[row], atol=1e-9)
        index = valid[i].nonzero()[:, 0][None]
        latents = model.latents(x[row], index)
        assert torch.allclose(latents[0], tokens[i, valid[i]], atol=1e-9)


def test_an_roi_is_told_by_the_place_it_lies_in():
    # Two places a side of 96 mm each, from the right to the left: x = -96 .. 96, y, z about
    # (-18, 8).
    basis = torch.tensor(
        [[50.0, 0, 20], [-50, 0, 20], [50, -50, 20], [50, 0, -20], [500, 0, 20], [-9, -99, -99]]
    )
    model = SwiftModel(SwiftSettings(rois=6, frames=4, **SIZES), basis).double()
    places = model.encoder.places(basis[None])[0].tolist()
    assert places == [0b011, 0b111, 0b001, 0b010, 0b011, 0b100]
    x = windows(2)
    features = model.encoder.network(x.movedim(1, -1)).flatten(1, 3)
    tokens = model.encode(x).unflatten(1, (6, 4))
    for roi, place in enumerate(places):
        assert torch.equal(tokens[:, roi], features[:, place])
    two = SwiftModel(SwiftSettings(rois=6, frames=4, patch=2, **SIZES), basis).double()
    two.load_state_dict(model.state_dict())
    assert torch.allclose(two.encode(x), tokens.unflatten(2, (2, 2)).mean(3).flatten(1, 2))


def test_windows_of_series_are_refused():
    with pytest.raises(ValueError, match=r"expected windows of 4 volumes of 8 x 8 x 8 voxels, fou"):
        made().encode(torch.zeros(1, 6, 4))


@pytest.mark.parametrize(
    "choices, text",
    [
        ({"basis": {}}, "expected basis.kind: centroids with family swift, found gradients"),
        ({"windows": {"frames": 4}}, "expected windows.temporal: official with a model that"),
    ],
)
def test_what_does_not_fit_a_study_is_told(choices, text):
    with pytest.raises(ValidationError, match=text):
        PretrainingSettings.model_validate({**study().model_dump(), **choices})


def test_models_that_read_other_things_are_not_set_side_by_side(tmp_path):
    store = volume_store(tmp_path / "store", of_people(2, 8))
    shapes = [PretrainingSettings().model_settings(6), study().model_settings(6)]
    text = r"found some that read series of ROIs and volumes of 8 x 8 x 8 voxels of 24 mm; evaluate"
    with pytest.raises(ValueError, match=text):
        read_windows(shapes, [store], study().windows)


def test_adapters_compute_the_same_and_are_merged():
    model = made()
    adapted = with_adapters(model, 2, seed=0)
    x = windows(2)
    assert torch.equal(adapted.encode(x), model.encode(x))
    assert torch.allclose(without_adapters(adapted).encode(x), model.encode(x))
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} >= {"head.project.weight"}


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{}, AGE], ids=["contrast", "age"])
def test_it_learns_who_is_who(tmp_path, choices):
    """Sixteen people with a pattern each; of six, a contrast by chance is ln 11 + ln 3."""
    people = of_people(16, 16)
    for number, values in enumerate(people.values()):
        values += (number - 8) / 4  # what tells of age: the whole brain's level
    store = volume_store(tmp_path / "store", people)
    plan = study(**choices)
    pretrain_locally([store], tmp_path / "run", plan, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    first, last = (np.mean([line["loss"] for line in part]) for part in (lines[:5], lines[-10:]))
    assert last < 0.8 * first


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("padded", [False, True])
def test_gradients_of_single_people_are_those_of_people_alone(padded):
    """What differential privacy clips: by one pass for all, and by a pass for each."""
    model = made(**AGE)
    x, told = windows(3), torch.tensor([[0.5], [-1.0], [0.2]], dtype=torch.float64)
    valid = torch.ones(3, 6, 4, dtype=torch.bool)
    valid[1, :, 2:] = False
    batch = Batch(x, valid.flatten(1) if padded else None, {"told": told})
    recipe = study().training
    (parts,) = ClippedGradients(model, recipe, 1e9, torch.device("cpu"))([batch])
    rows = torch.cat([part.rows for part in parts])
    for i, found in enumerate(rows):
        model.zero_grad()
        row = slice(i, i + 1)
        there = None if batch.token_valid is None else batch.token_valid[row]
        model.sample_losses(x[row], told=told[row], token_valid=there).sum().backward()
        alone = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert torch.allclose(found, alone, rtol=1e-9, atol=1e-12)
