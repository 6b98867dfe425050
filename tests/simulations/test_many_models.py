"""One command from stores and a model to one table, and what stands in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from click import unstyle
from page_text import unexplained
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.settings import SiteSettings
from brainjepa_client.using import site_evaluation
from brainjepa_core.evaluation import comparison
from brainjepa_core.evaluation.comparison import EvaluationPlan, table_methods
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_files import read_finetuned
from brainjepa_core.evaluation.learning.probe import ProbeMethod
from brainjepa_core.evaluation.learning.supervised import device_of
from brainjepa_core.evaluation.methods import model_methods
from brainjepa_core.evaluation.methods.network_methods import ConnectivityNetworkMethod
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import write_model
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.evaluating import many_models
from brainjepa_simulations.evaluating.many_models import (
    find_checkpoints,
    run_evaluation,
    to_be_trained,
)

COHORT = CohortSettings(
    sites=3, subjects_per_site=16, rois=16, networks=4, latents=3, frames=60, second_sessions=0.2
)
STUDY = PretrainingSettings(
    model=dict(
        width=8, depth=1, heads=2, patch=8, predictor_width=8, predictor_depth=1, predictor_heads=2
    ),
    windows={"frames": 32},
    basis={"components": 4, "sparsity": 0.2},
)
KEYS = ["model", "task", "protocol", "metric", "mean", "sd", "low", "high", "n", "unit"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return write_cohort(COHORT, tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def checkpoint(stores, tmp_path_factory):
    """A model of random weights with its basis, as training writes one."""
    torch.set_num_threads(1)
    windows = Windows([ScanStore.open(path) for path in stores], STUDY.windows)
    basis = ConsensusBasis.from_sum(connectivity_sum(windows), 4, 0.2)
    folder = tmp_path_factory.mktemp("run") / "final"
    write_model(folder, STUDY.new_model(basis), provenance(windows, basis))
    return folder.parent


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "protocol.yaml"
    path.write_text(yaml.safe_dump({"kind": "kfold", "seeds": 1, "folds": 3}))
    return path


@pytest.fixture
def finetune(tmp_path):
    path = tmp_path / "finetune.yaml"
    settings = {"steps": 4, "batch_size": 8, "evaluate_every": 2}
    path.write_text(yaml.safe_dump(settings))
    return path


def call(*arguments):
    result = CliRunner().invoke(command(), [str(argument) for argument in arguments])
    return result, " ".join(unstyle(result.stdout).split())


@pytest.mark.slow
def test_one_table_of_everything(stores, checkpoint, protocol, finetune, tmp_path):
    out = tmp_path / "out"
    command = [
        "evaluate", stores[0].parent, "--checkpoint", f"mine={checkpoint}", "--task", "diagnosis",
        "--protocol", protocol, "--finetune", finetune, "--out", out,
    ]  # fmt: skip
    result, shown = call(*command)
    assert result.exit_code == 0, result.output
    assert "48 people of 3 sites, 3 splits" in shown
    rows = json.loads((out / "results.json").read_text())
    assert all(list(row) == KEYS for row in rows)
    assert {row["task"] for row in rows} == {"diagnosis"}
    assert {row["protocol"] for row in rows} == {"kfold"} and {row["n"] for row in rows} == {48}
    models = {row["model"] for row in rows}
    assert {
        "majority", "site majority", "motion only", "FC correlation + SVM",
        "FC partial correlation + logistic", "mine: probe", "mine: published probe",
        "mine: probe and FC", "mine: fine-tuned", "random weights: probe", "from scratch",
    } <= models  # fmt: skip
    assert "masked autoencoder: probe" not in models  # only a study says with which budget
    assert {p.name for p in (out / "figures").iterdir()} == {"models.png", "predictions.png"}
    page = unexplained((out / "results.html").read_text())
    assert "mine: probe" in page and "<html" in page
    assert (out.parent / "mlflow.db").exists()
    result, _ = call("export", checkpoint, "--out", tmp_path / "model", "--results", out)
    assert result.exit_code == 0, result.output
    card = (tmp_path / "model" / "README.md").read_text()
    assert "### diagnosis, 48 people, kfold" in card
    assert "| mine: probe | diagnosis | auc above FC correlation + SVM |" in card
    comparisons = json.loads((out / "comparisons.json").read_text())
    against = {c["model"]: c["against"] for c in comparisons if "mine" in c["model"]}
    assert {c["against"] for c in comparisons} == {"FC correlation + SVM", *against.values()}
    assert against == {
        "mine: probe": "random weights: probe",
        "mine: published probe": "random weights: published probe",
        "mine: probe and FC": "random weights: probe and FC",
        **{
            f"mine: latent {kind}{centred}": f"random weights: latent {kind}{centred}"
            for kind in ("connectivity", "log-connectivity")
            for centred in ("", ", site-centred")
        },
        "mine: fine-tuned": "from scratch",
    }

    predictions = {p: p.stat().st_mtime_ns for p in (out / "predictions").iterdir()}
    result, _ = call(*command)
    assert result.exit_code == 0, result.output
    assert {p: p.stat().st_mtime_ns for p in (out / "predictions").iterdir()} == predictions
    assert json.loads((out / "results.json").read_text()) == rows

    command[command.index("diagnosis")] = "sex"
    result, _ = call(*command)
    assert result.exit_code == 1
    assert "the same phenotypes, splits, task.classes" in unstyle(result.stderr)
    assert json.loads((out / "results.json").read_text()) == rows


def test_baselines_alone(stores, protocol, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text(yaml.safe_dump({"name": "trait", "column": "latent_1", "kind": "regression"}))
    out = tmp_path / "out"
    result, _ = call(
        "evaluate", stores[0].parent, "--task", task, "--protocol", protocol, "--out", out
    )
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "results.json").read_text())
    assert {row["metric"] for row in rows} == {"mse", "mae", "standardised mse", "r", "r2"}
    assert "FC correlation + SVR" in {row["model"] for row in rows}
    assert not any(":" in row["model"] for row in rows)


def test_what_cannot_be_judged_says_why(stores, tmp_path):
    task = tmp_path / "task.yaml"
    for word in ("handedness", "agee"):
        task.write_text(yaml.safe_dump({"name": "mine", "column": word, "kind": "regression"}))
        result, _ = call("evaluate", stores[0].parent, "--task", task, "--out", tmp_path / "out")
        assert result.exit_code == 1
        error = unstyle(result.stderr)
        assert error.startswith(f"Error: task 'mine': expected column '{word}', found it of none")
        assert error.count("\n") == 1
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_model_of_another_atlas(checkpoint, tmp_path):
    write_cohort(COHORT.model_copy(update={"rois": 18, "sites": 1}), tmp_path / "other")
    result, _ = call(
        "evaluate", tmp_path / "other", "--checkpoint", checkpoint, "--task", "sex",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "found a checkpoint of 16 ROIs that differs first at row" in unstyle(result.stderr)


def test_an_equals_sign_in_a_path_is_no_name(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").symlink_to(checkpoint)
    for word, name in (
        (f"mine={tmp_path}/a=b", "mine"),
        (f"{tmp_path}/a=b", "a=b"),
        ("a=b", "a=b"),
    ):
        (found,) = find_checkpoints([word])
        assert (found.name, found.path.resolve()) == (name, (checkpoint / "final").resolve())


def test_what_will_be_trained_is_told_with_what_leaves_it_out():
    mae = "a masked autoencoder with the study's budget (left out by --no-mae)"
    tuned = (
        "fine-tuning of 2 models and one network from scratch, for every split and seed (left out "
        "by --finetune no)"
    )
    assert to_be_trained(True, FinetuneSettings(), 2) == [mae, tuned]
    assert to_be_trained(True, None, 2) == [mae]
    assert to_be_trained(False, FinetuneSettings(), 0) == []  # baselines alone


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--finetune", "expected --finetune to be no, yes or a YAML file, found 'maybe'; take one"),
        (
            "--protocol",
            "expected --protocol to be holdout, kfold, leave_one_site_out, transfer, personalised, "
            "brainmarks, column or a YAML file, found 'maybe'; take one",
        ),
    ],
)
def test_words_that_are_none(stores, tmp_path, option, text):
    command = ["evaluate", stores[0].parent, "--task", "sex", "--out", tmp_path / "out"]
    result, _ = call(*command, option, "maybe")
    assert result.exit_code == 1
    assert unstyle(result.stderr) == f"Error: {text} of these\n"
    assert not (tmp_path / "out" / "results.json").exists()


def test_names_of_checkpoints(checkpoint, tmp_path):
    found = find_checkpoints([str(checkpoint), f"mine={checkpoint / 'final'}"])
    assert [c.name for c in found] == [checkpoint.name, "mine"]
    assert {c.path for c in found} == {checkpoint / "final"}
    with pytest.raises(ValueError, match="checkpoints of different names, found mine, mine; give"):
        find_checkpoints([f"mine={checkpoint}", f"mine={checkpoint}"])
    with pytest.raises(ValueError, match=r"expected a model folder with model.json"):
        find_checkpoints([str(tmp_path)])


def site_file(stores, folder):
    path = folder / "site.yaml"
    places = {"name": "one", "store": str(stores[0]), "state": str(folder / "state")}
    path.write_text(yaml.safe_dump(places))
    return path


@pytest.mark.slow
def test_a_site_embeds_probes_and_keeps_its_own_model(
    stores, checkpoint, protocol, finetune, tmp_path
):
    site = site_file(stores, tmp_path)
    out = tmp_path / "vectors.npz"
    result, _ = call("site", "embed", site, "--model", checkpoint, "--out", out)
    assert result.exit_code == 0, result.output
    vectors = np.load(out)
    assert len(vectors["subject"]) == 16 and vectors["mean"].shape == (16, 8)
    told = json.loads(str(vectors["origin"]))
    assert told.keys() == {"ROIs", "people", "scans", "windows", "model", "version"}
    before = out.read_bytes()
    result, _ = call("site", "embed", site, "--model", checkpoint, "--out", out)
    assert result.exit_code == 0 and out.read_bytes() == before

    result, _ = call(
        "site", "probe", site, "--model", checkpoint, "--task", "sex",
        "--protocol", protocol, "--out", tmp_path / "probe",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    models = {row["model"] for row in json.loads((tmp_path / "probe" / "results.json").read_text())}
    name = checkpoint.name  # the row says which model it is of
    assert f"{name}: probe and FC" in models and f"{name}: fine-tuned" not in models

    kept = tmp_path / "kept"
    result, _ = call(
        "site", "finetune", site, "--model", checkpoint, "--task", "sex",
        "--settings", finetune, "--out", kept,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {"scans", "phenotypes", "models"} <= json.loads(
        (kept / "origin.json").read_text()
    ).keys()
    fitted, told = read_finetuned(kept)
    windows = Windows([ScanStore.open(stores[0])], STUDY.windows)
    assert told.rois == windows.atlas.rois
    assert fitted.predict(windows, np.arange(3), np.zeros(3, np.int64)).shape == (3, 2)

    looks = tmp_path / "looks"
    result, _ = call(
        "site", "interpret", site, "--model", kept, "--task", "sex", "--people", 6, "--out", looks
    )
    assert result.exit_code == 0, result.output
    rows = (looks / "attribution.tsv").read_text().splitlines()
    assert len(rows) == 1 + COHORT.rois and rows[0].startswith("roi\tnetwork\t")
    assert (looks / "attention.tsv").exists() and (looks / "attention.png").exists()

    before = {path: path.read_bytes() for path in looks.iterdir()}
    result, _ = call(
        "site", "interpret", site, "--model", kept, "--task", "sex", "--people", 5, "--out", looks
    )
    assert result.exit_code == 1
    assert "expected the same most people as the results in this folder" in unstyle(result.stderr)
    assert {path: path.read_bytes() for path in looks.iterdir()} == before


def test_what_is_there_is_refused_before_any_work(stores, checkpoint, tmp_path, monkeypatch):
    for name in ("cached_embeddings", "site_model"):
        monkeypatch.setattr(site_evaluation, name, None)  # a call would be a TypeError
    site, out = site_file(stores, tmp_path), tmp_path / "mine.npz"
    np.savez(out, subject=np.arange(3), results=np.arange(3))
    before = out.read_bytes()
    result, _ = call("site", "embed", site, "--model", checkpoint, "--out", out)
    assert unstyle(result.stderr) == (
        f"Error: expected a new file, or embeddings to make anew, found another file, '{out}'; "
        "give another --out\n"
    )
    assert out.read_bytes() == before
    (tmp_path / "kept").mkdir()
    result, _ = call(
        "site", "finetune", site, "--model", checkpoint, "--task", "sex",
        "--out", tmp_path / "kept",
    )  # fmt: skip
    assert unstyle(result.stderr) == (
        "Error: expected a new folder name, found that 'kept' exists; choose another name or "
        "remove the old folder first\n"
    )


NETWORKS = ("brainnetcnn", "brain_network_transformer", "braingnn")


def test_all_that_torch_trains_is_on_the_device_that_is_asked_for(
    stores, checkpoint, tmp_path, monkeypatch
):
    """Torch's meta device stands for a GPU: parameters there, and no numbers."""
    compared = []
    for module in (many_models, site_evaluation):
        monkeypatch.setattr(
            module, "compare_models", lambda given, windows, *_: compared.append((given, windows))
        )
    task, protocol = load_task("sex"), ProtocolSettings(kind="kfold")
    run_evaluation(
        stores[0].parent, [str(checkpoint)], task, protocol, tmp_path, methods=NETWORKS,
        finetune=FinetuneSettings(), device="meta",
    )  # fmt: skip
    site = SiteSettings(name="one", store=stores[0], state=tmp_path)
    site = site.model_copy(update={"device": "meta"})
    site_evaluation.compare_at_site(
        site,
        checkpoint,
        lambda models: EvaluationPlan(task, protocol, models, FinetuneSettings(), NETWORKS),
        tmp_path,
        print,
        print,
    )
    assert len(compared) == 2
    embedded = []

    def embed(model, windows, people, pools, *_):
        embedded.append(device_of(model).type)
        return {pool: np.zeros((len(people), 2)) for pool in pools}

    monkeypatch.setattr(model_methods, "cached_embeddings", embed)
    for module in (comparison, model_methods):  # there is no number to copy from
        monkeypatch.setattr(module, "from_scratch", lambda model, *_: model)

    def probe(name, model, *rest):
        model.basis = torch.zeros(model.basis.shape)
        return model_methods.probe_methods(name, model, *rest)

    monkeypatch.setattr(comparison, "probe_methods", probe)
    for given, windows in compared:
        methods = table_methods(
            given,
            windows,
            task_data(task, windows),
            comparison.SignalReadOuts(windows),
            tmp_path,
            print,
        )
        kinds = (ProbeMethod, FinetuneMethod, ConnectivityNetworkMethod)
        trained = [method for method in methods if isinstance(method, kinds)]
        assert len(trained) == 2 + 2 + 3  # with random weights; from scratch; networks
        assert {method.device for method in trained} == {"meta"}
    assert embedded == ["meta"] * 4


def test_a_device_that_is_not_there(stores, tmp_path):
    out = tmp_path / "out"
    result, _ = call(
        "evaluate", stores[0].parent, "--task", "sex", "--device", "cuda:99", "--out", out
    )
    assert result.exit_code == 1 and not out.exists()
    assert "expected a device of this machine, found 'cuda:99'" in unstyle(result.stderr)
