"""A model with its preprocessing against a store's windows, embedded the long way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import FRAMES, ROIS, SETTINGS, TR, made_series, small_model

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.embedder import Embedder, load, pretrain
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, embed_people
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import write_official
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.pooling import SECOND_ORDER
from brainjepa_core.signals.storing.stores import create_store
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    small_model(folder)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return load(run)


def test_embeddings_are_those_of_a_store_of_the_same_series(model, tmp_path):
    series = made_series(3, seed=5)
    store = create_store(tmp_path / "store", model.atlas)
    for number, scan in enumerate(series):
        store.append(scan, subject=f"{number}", tr=0.8)
    windows = Windows([store], model.windows)
    networks = networks_of(windows, model.model.basis.numpy())
    expected = embed_people(model.model, windows, range(3), SECOND_ORDER, networks)
    expected = np.concatenate([expected[pool] for pool in SECOND_ORDER], axis=1)
    assert_allclose(model.embed(series, 0.8, "second_order"), expected, atol=1e-6)
    assert_allclose(model.embed(series[1], 0.8, "second_order"), expected[1], atol=1e-6)
    latent = embed_people(model.model, windows, range(3), [LATENT_CONNECTIVITY])
    latent = latent[LATENT_CONNECTIVITY]
    assert latent.shape == (3, ROIS * (ROIS - 1) // 2)
    assert_allclose(model.embed(series, tr=0.8), latent, atol=1e-6)  # what is asked for by nothing


def test_tokens_of_a_scan_are_windows_side_by_side(model):
    (scan,) = made_series(1)
    tokens = model.tokens(scan, TR)
    assert tokens.shape == (FRAMES // 16, ROIS * 4, 8) and tokens.dtype == np.float32
    standard = (scan - scan.mean(1, keepdims=True)) / scan.std(1, keepdims=True)
    expected = model.model.encode(torch.tensor(standard[None, :, 16:32], dtype=torch.float32))
    assert_allclose(tokens[1], expected[0].numpy(), atol=1e-5)
    mean = model.embed(scan, TR, pool="mean")
    assert_allclose(mean, tokens.mean((0, 1)), atol=1e-5)


def test_rows_are_known_by_name_and_a_missing_roi_by_its_absence(model):
    (scan,) = made_series(1)
    order = np.random.default_rng(3).permutation(ROIS)
    names = [model.rois[i] for i in order]
    assert_allclose(model.embed(scan[order], TR, rois=names), model.embed(scan, TR), atol=1e-6)
    gone = scan.copy()
    gone[order[0]] = np.nan
    without = model.tokens(scan[order[1:]], TR, rois=names[1:])
    assert np.array_equal(without, model.tokens(gone, TR), equal_nan=True)
    lost = np.isnan(without).all((0, 2)).reshape(ROIS, 4)
    assert lost[order[0]].all() and lost.sum() == 4


def test_a_file_is_read_by_the_names_it_has(model, tmp_path):
    (scan,) = made_series(1)
    path = tmp_path / "scan.tsv"
    order = np.random.default_rng(3).permutation(ROIS)
    header = "\t".join(model.rois[i] for i in order)
    np.savetxt(path, scan[order].T, delimiter="\t", header=header, comments="")
    assert_allclose(model.embed(path, TR), model.embed(scan, TR), atol=1e-5)
    assert_allclose(model.embed([path, scan], TR)[0], model.embed(str(path), TR), atol=1e-6)


def test_pretraining_again_changes_nothing_and_a_store_gives_the_same(run, model, tmp_path):
    again = pretrain(made_series(), run, SETTINGS, tr=TR, progress=False)
    store = create_store(tmp_path / "store", model.atlas)
    for number, scan in enumerate(made_series(), 1):
        store.append(scan, subject=f"{number:06d}", tr=TR)
    choices = {"progress": False}
    other = pretrain([store], tmp_path / "one", SETTINGS, **choices)
    by_path = pretrain([tmp_path / "store"], tmp_path / "two", SETTINGS, **choices)
    for found in (again, other, by_path):
        state = found.model.state_dict()
        assert all(torch.equal(value, state[k]) for k, value in model.model.state_dict().items())


def test_a_published_checkpoint_in_one_line(tmp_path):
    torch.manual_seed(0)
    settings = BrainJepaSettings.preset(
        "tiny", rois=6, recipe="published", frames=16, patch=4, components=3, width=64, heads=1,
        depth=1, predictor_heads=1, predictor_depth=1,
    )  # fmt: skip
    published = BrainJEPA(settings, torch.randn(6, 3))
    write_official(published, tmp_path / "jepa.pth.tar")
    found = load(tmp_path / "jepa.pth.tar", gradients=published.basis.numpy())
    assert isinstance(found, Embedder) and found.windows.temporal == "official"
    assert found.rois == tuple(f"ROI {i}" for i in range(1, 7))
    windows = WindowSettings(frames=16)
    other = load(tmp_path / "jepa.pth.tar", gradients=published.basis.numpy(), windows=windows)
    scan = np.random.default_rng(0).standard_normal((6, 16))
    standard = (scan - scan.mean(1, keepdims=True)) / scan.std(1, keepdims=True)
    expected = published.encode(torch.tensor(standard[None], dtype=torch.float32))[0]
    assert_allclose(other.tokens(scan, 2.0)[0], expected.numpy(), atol=1e-5)


def test_networks_of_the_shipped_atlas_are_known(tmp_path):
    atlas = load_atlas()
    rng = np.random.default_rng(0)
    few = {**SETTINGS, "basis": {"components": 3, "sparsity": 0.9}}
    few["training"] = {"batch_size": 2, "schedule": {"total_steps": 1}}
    store = create_store(tmp_path / "store", atlas)
    mixing = rng.standard_normal((len(atlas), 5))
    for number in range(2):
        noise = rng.standard_normal((len(atlas), 20))
        store.append(mixing @ rng.standard_normal((5, 20)) + noise, subject=f"{number}", tr=2.0)
    model = pretrain([store], tmp_path / "run", few, progress=False)
    assert model.atlas == atlas and load(tmp_path / "run").atlas == atlas


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda m: m.embed(made_series(1)[0].T, TR), "series 1: expected .12 ROIs, .*transpose it"),
        (lambda m: m.embed(np.zeros((ROIS, 20)), TR), "series 1: .* 20 frames and 0 such ROIs"),
        (
            lambda m: m.embed([made_series(1)[0], made_series(1)[0][:, :3]], TR),
            r"^series 2: expected a scan of at least \d+ frames and 2 ROIs with a signal, found",
        ),
        (lambda m: m.embed([], TR), "expected at least one series, found none"),
        (
            lambda m: m.embed(made_series(2), [TR]),
            "a repetition time for each of 2 series",
        ),
        (lambda m: m.embed(made_series(1)[0], 0.0), "between 0.1 and 20 seconds, found 0;"),
        (lambda m: m.embed(made_series(1)[0], 2000), "series 1: .*2000 would be milliseconds"),
        (lambda m: m.embed(made_series(1)[0], TR, "median"), "expected pools among"),
    ],
)
def test_what_does_not_fit_is_refused(model, wrong, text):
    with pytest.raises(ValueError, match=text):
        wrong(model)


def test_what_cannot_be_loaded_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="expected a model folder with model"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected no windows with a model that says how"):
        load(run, windows=WindowSettings())
    with pytest.raises(ValueError, match="expected a device of this machine, found 'tpu9'"):
        load(run, device="tpu9")
    with pytest.raises(ValueError, match="expected the repetition time of the series"):
        pretrain(made_series(), tmp_path / "run", SETTINGS)


def test_an_atlas_of_names_keeps_its_networks():
    names = [f"17Networks_LH_VisCent_{i}" for i in range(3)]
    assert Atlas.from_names(names).networks == ("VisCent",) * 3
