"""What is exported is read again, and computes the same."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_models import FRAMES, ROIS, TR, model_in_folder, small_model

import brainjepa
from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes
from brainjepa_core.models.registry import SHIPPED, family_named
from brainjepa_core.models.sharing.archive import FILES
from brainjepa_core.models.sharing.card import Figure
from brainjepa_core.models.sharing.export import export_model
from brainjepa_core.models.sharing.measured import Measured
from brainjepa_core.models.sharing.onnx_encoder import CLOSE, run_onnx, write_onnx

POOLS = ["latent_connectivity", "latent_log_connectivity", "mean"]
PUBLISHED = {"heads": 1, "width": 64, "predictor_heads": 1, "recipe": "published"}
HEADS = [{"name": "age", "kind": "regression"}]


def series() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((len(ROIS), 3)) @ rng.standard_normal((3, 70))


def embedding(path: Path) -> np.ndarray:
    return brainjepa.load(path).embed(series(), TR, pool=POOLS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model_in_folder(tmp_path / "run" / "final")
    return tmp_path / "run"


def test_a_folder_and_its_archives_are_read_as_the_model_itself(model, tmp_path):
    expected = embedding(model)
    export_model(model, tmp_path / "out", licence="cc0-1.0")
    export_model(tmp_path / "out", tmp_path / "out.zip")
    with tarfile.open(tmp_path / "out.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "out", "deep/er")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*FILES, "README.md"}
    text = (tmp_path / "out" / "README.md").read_text()
    assert "# run\n" in text and "license: cc0-1.0" in text and "## Files" in text
    for name in ("out", "out.zip", "out.tar.gz"):
        assert np.array_equal(embedding(tmp_path / name), expected)
    export_model(tmp_path / "out.zip", tmp_path / "again")
    again = (tmp_path / "again" / "README.md").read_text()
    assert "license: cc0-1.0" in again and again.count("## Files") == 1


def test_what_was_measured_of_the_model_is_in_its_card(model, tmp_path):
    given = []

    def found(of):
        given.append(of)
        return Measured("40 people, kfold", (Figure("m: probe", "age", "r", 0.4),), frozenset())

    export_model(model, tmp_path / "out", measured=[found])
    assert "| m: probe | age | r | 0.400 |" in (tmp_path / "out" / "README.md").read_text()
    assert np.array_equal(embedding(tmp_path / "out"), embedding(model)) and len(given) == 1

    def refused(of):
        raise ValueError("expected an evaluation of this model")

    with pytest.raises(ValueError, match="expected an evaluation of this model"):
        export_model(model, tmp_path / "none", measured=[refused])
    assert not (tmp_path / "none").exists()


def test_nothing_but_a_models_files_is_taken_out_of_an_archive(model, tmp_path):
    export_model(model, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip", "a") as archive:
        archive.writestr("../outside", "x")
        archive.writestr("/outside", "x")
        archive.writestr("out/run.py", "raise SystemExit")
    before = {*tmp_path.iterdir()}
    brainjepa.load(tmp_path / "out.zip")
    assert {*tmp_path.iterdir()} == before and not Path("/outside").exists()


def test_a_damaged_archive_is_named(model, tmp_path):
    export_model(model, tmp_path / "out.zip")
    content = bytearray((tmp_path / "out.zip").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9] = bytes(9)
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(ValueError, match="intact archive of a model's folder, found a damaged 'ba"):
        brainjepa.load(tmp_path / "bad.zip")


def test_what_is_there_is_not_written_over(model, tmp_path):
    (tmp_path / "taken.zip").touch()
    for name in ("run", "taken.zip"):
        with pytest.raises(ValueError, match=f"expected a new folder, found '{name}'"):
            export_model(model, tmp_path / name)


def test_published_files_are_read_with_the_gradients_beside_them(tmp_path):
    model_in_folder(tmp_path / "m", **PUBLISHED)
    export_model(tmp_path / "m", tmp_path / "out", "published")
    windows = brainjepa.WindowSettings(frames=FRAMES, tr=TR)
    found = brainjepa.load(
        tmp_path / "out" / "model.pth.tar",
        gradients=tmp_path / "out" / "gradients.csv",
        windows=windows,
    )
    expected = brainjepa.load(tmp_path / "m").tokens(series(), TR)
    assert np.allclose(found.tokens(series(), TR), expected, atol=1e-5)
    assert "`gradients.csv`" in (tmp_path / "out" / "README.md").read_text()
    model_in_folder(tmp_path / "mae", "masked_autoencoder")
    with pytest.raises(ValueError, match="published checkpoints, found 'masked_autoencoder'; exp"):
        export_model(tmp_path / "mae", tmp_path / "none", "published")
    assert not (tmp_path / "none").exists()


def test_an_encoder_in_onnx_gives_the_tokens_of_a_scan(model, tmp_path):
    export_model(model, tmp_path / "out", "onnx")
    loaded = brainjepa.load(model)
    x, _, _ = loaded.windows_of([series()], TR).full_windows(0)
    valid = np.ones((len(x), loaded.model.settings.tokens), dtype=bool)
    found = run_onnx(tmp_path / "out" / "encoder.onnx", x, valid)
    assert len(x) > 1 and np.abs(found - loaded.tokens(series(), TR)).max() < 1e-4
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "encoder.onnx", "model.json", "README.md"
    }  # fmt: skip
    assert "`windows` float32 [batch, 6, 32]" in (tmp_path / "out" / "README.md").read_text()


# Those that ONNX can hold; BrainGNN's edges are an inverse, of which it has none.
FAMILIES = [name for name in SHIPPED if name not in ("brainlm_picture", "swift", "braingnn")]
AGE = {"phenotypes": [{"column": "age", "mean": 40, "sd": 20}]}
LEARNERS = [f for f in SHIPPED if issubclass(family_named(f).settings, LearnsPhenotypes)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_encoder_is_the_same_in_onnx(family, tmp_path):
    model = small_model(family, **(AGE if family in LEARNERS else {}))
    with torch.no_grad():
        for name, weights in model.named_parameters():  # some begin as nothing
            torch.manual_seed(len(name))
            weights += 0.05 * torch.randn_like(weights)
    write_onnx(model, tmp_path / "encoder.onnx")
    x = torch.randn(5, len(ROIS), FRAMES, generator=torch.Generator().manual_seed(3))
    valid = torch.ones(5, model.settings.tokens, dtype=torch.bool)
    valid[2, :8] = False
    expected = model.encode(x, valid).numpy()
    found = run_onnx(tmp_path / "encoder.onnx", x.numpy(), valid.numpy())
    seen = valid.numpy()
    assert np.abs(found - expected)[seen].max() < CLOSE * np.abs(expected[seen]).max()


@pytest.mark.parametrize("family", ["brainlm_picture", "braingnn"])
def test_a_network_that_onnx_cannot_hold_is_refused(family, tmp_path):
    model = small_model(family, **(AGE if family in LEARNERS else {}))
    with pytest.raises(ValueError, match=f"found one of the family '{family}': ONNX has no"):
        write_onnx(model, tmp_path / "encoder.onnx")


@pytest.mark.parametrize("factor", [1.001, np.nan])
def test_an_encoder_that_computes_something_else_is_not_handed_on(
    factor, model, tmp_path, monkeypatch
):
    import brainjepa_core.models.sharing.onnx_encoder as module

    run = module.run_onnx
    monkeypatch.setattr(module, "run_onnx", lambda *about: run(*about) * factor)
    with pytest.raises(ValueError, match="ONNX Runtime computes other tokens from it"):
        export_model(model, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
