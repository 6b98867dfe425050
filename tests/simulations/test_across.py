"""From some hospitals to others by one command: who trains, who is tested, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from click import unstyle
from page_text import unexplained
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.evaluation import comparison
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import write_model
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.engines.virtual_sites import open_data

ROIS, TR = 16, 2.0
STUDY = PretrainingSettings(
    model=dict(
        width=8, depth=1, heads=2, patch=8, predictor_width=8, predictor_depth=1, predictor_heads=2
    ),
    windows={"frames": 32},
    basis={"components": 4, "sparsity": 0.2},
)
KEYS = ["model", "task", "protocol", "metric", "mean", "sd", "low", "high", "n", "unit"]
TRAIN, OTHERS = {"north": 16, "south": 16, "west": 16}, {"east": 14, "far": 12}


def hospital(folder, site, people, *, seed=0, rois=ROIS, tr=TR, frames=150):
    """An archive of people whose case and age are in how their first two ROIs go together."""
    rng = np.random.default_rng([seed, *site.encode()])
    mixing, scans, rows = np.random.default_rng(7).standard_normal((rois, 3)), [], []
    for number in range(people):
        case, age = number % 2, rng.uniform(20, 40)
        x = rng.standard_normal((frames, 3)) @ mixing.T + 2 * rng.standard_normal((frames, rois))
        x[:, 0] += (case + age / 20) * x[:, 1]
        scans.append(x.astype(np.float32))
        rows.append((f"{site}{number:03d}", "case" if case else "control", f"{age:.1f}"))
    save(folder / f"{site}.npz", scans, [row[0] for row in rows], tr)
    return rows


def save(path, scans, people, tr=TR):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        ts=np.concatenate(scans),
        lengths=np.array([len(scan) for scan in scans], np.int32),
        participant_id=np.array(people),
        tr=np.float32(tr),
        roi=np.array([f"roi{i}" for i in range(scans[0].shape[1])]),
    )


def write_table(folder, rows, columns=("participant_id", "diagnosis", "age")):
    lines = ["\t".join(columns), *("\t".join(row) for row in rows)]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Hospitals that train and others, and the run of a model of the first."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("hospitals")
    for name, sites in (("train", TRAIN), ("others", OTHERS)):
        rows = [row for site, n in sites.items() for row in hospital(root / name, site, n)]
        write_table(root / name, rows)
    stores = [ScanStore.open(path) for path in open_data(root / "train", root / "stores")]
    windows = Windows(stores, STUDY.windows)
    basis = ConsensusBasis.from_sum(connectivity_sum(windows), 4, 0.2)
    write_model(root / "run" / "final", STUDY.new_model(basis), provenance(windows, basis))
    return root


@pytest.fixture
def others(folders, tmp_path):
    """A copy of the other hospitals that a test may change."""
    return shutil.copytree(folders / "others", tmp_path / "others")


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch):
    """Its database takes longer than everything else; other tests ask for it."""
    monkeypatch.setattr(comparison, "log_evaluation", lambda *_: True)


def evaluate(folders, others, out, *more, task="diagnosis"):
    """Exit code, what was shown and what was said of errors."""
    words = ["evaluate", folders / "train", "--test", others, "--task", task, "--out", out, *more]
    result = CliRunner().invoke(command(), [str(word) for word in words])
    shown, errors = (" ".join(unstyle(text).split()) for text in (result.stdout, result.stderr))
    return result.exit_code, shown, errors


def figures(out):
    rows = json.loads((out / "results.json").read_text())
    return {(row["model"], row["metric"]): row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["diagnosis", "age"])
def test_the_whole_command(folders, tmp_path, task):
    out = tmp_path / "out"
    code, shown, errors = evaluate(
        folders, folders / "others", out, "--checkpoint", folders / "run", task=task
    )
    assert code == 0, errors
    assert "48 people of 3 sites train, 26 people of 2 sites are tested" in shown
    assert "mean connectivity of those who train" in shown
    rows = json.loads((out / "results.json").read_text())
    assert all(list(row) == KEYS for row in rows)
    assert {row["protocol"] for row in rows} == {"transfer"}
    found = figures(out)
    assert len(found) == len(rows)  # a model and a metric name one figure
    metric = {"diagnosis": "auc", "age": "r within site"}[task]
    estimator = {"diagnosis": "SVM", "age": "SVR"}[task]
    models = {
        f"FC correlation + {estimator}", "connectivity 0.01-0.1 Hz", "log-connectivity",
        "connectivity 0.01-0.1 Hz + log-connectivity, site-centred", "run: probe",
        "run: latent connectivity", "run: latent log-connectivity", "random weights: probe",
    }  # fmt: skip
    assert {found[model, metric]["n"] for model in models} == {26}
    for condition in ("25 labels", "first 64 s", "first 128 s", "10 % of ROIs missing",
                      "30 % of ROIs missing", "twice the TR", "as they are"):  # fmt: skip
        assert np.isfinite(found["run: probe", f"{metric}, {condition}"]["mean"]), condition
    assert ("run: probe", f"{metric}, 50 labels") not in found  # only 48 people train
    share = found["run: probe", f"share of draws above FC correlation + {estimator}, 25 labels"]
    assert 0 <= share["mean"] <= 1 and share["low"] is None
    assert found["run: probe", f"{metric}, as they are"]["mean"] == pytest.approx(
        found["run: probe", metric]["mean"]
    )
    own, net = ((m, "r2 of the other half, from 128 s") for m in
                ("connectivity", "run: latent connectivity"))  # fmt: skip
    assert found[net]["mean"] == pytest.approx(found[own]["mean"], abs=1e-3)  # at step 0
    assert found["connectivity", "identified within site, from 128 s"]["n"] == 26
    against = json.loads((out / "comparisons.json").read_text())
    assert f"{metric}, 25 labels" in {one["metric"] for one in against}
    page = unexplained((out / "results.html").read_text())
    for title in ("With few labels", "From short scans", "With missing regions",
                  "At another repetition time", "At a new hospital without labels",
                  "The other half of a scan"):  # fmt: skip
        assert f">{title}</h3>" in page
    assert "fine-tuned" not in page and "masked autoencoder" not in page


@pytest.mark.slow
def test_labels_of_tested_people_change_no_prediction(folders, others, tmp_path):
    def predictions(out):
        code, _, errors = evaluate(folders, others, out, "--no-asks")
        assert code == 0, errors
        return {path.name: np.load(path) for path in (out / "predictions").iterdir()}

    before = predictions(tmp_path / "before")
    rows = (others / "participants.tsv").read_text().splitlines()
    swap = {"case": "control", "control": "case"}
    cells = [row.split("\t") for row in rows[1:]]
    write_table(others, [(who, swap[told], age) for who, told, age in cells])
    after = predictions(tmp_path / "after")
    assert before.keys() == after.keys() and len(before) > 10
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)


@pytest.mark.slow
def test_co_skewness_is_that_of_the_study_where_it_has_summed_it(folders, tmp_path):
    def evaluated(name, sum_of=None):
        run = shutil.copytree(folders / "run", tmp_path / name / "run")
        if sum_of is not None:
            sum_of.save(run / "coskewness_sum.npz")
        out, asked = tmp_path / name / "out", ("--no-asks", "--methods", "coskewness")
        code, shown, errors = evaluate(
            folders, folders / "others", out, "--checkpoint", run, *asked
        )
        assert code == 0, errors
        return shown, figures(out)["FC co-skewness + logistic", "auc"]["mean"]

    stores = [ScanStore.open(path) for path in sorted((folders / "stores").iterdir())]
    windows = Windows(stores, STUDY.windows)
    shown, of_training = evaluated("training")
    assert "co-skewness is that of those who train" in shown
    shown, of_study = evaluated("study", coskewness_sum(windows))
    assert "co-skewness is that of the 48 people of the study's sites" in shown
    assert of_study == pytest.approx(of_training, abs=1e-6)  # the same people
    shown, of_few = evaluated("few", coskewness_sum(windows.only(range(5))))
    assert "of the 5 people of the study's sites" in shown and of_few != of_training


@pytest.mark.slow
def test_a_tested_hospital_of_one_class_three_people_and_unknown_ages(folders, others, tmp_path):
    table = (others / "participants.tsv").read_text().splitlines()[1:]
    rows = [tuple(line.split("\t")) for line in table]
    tiny = hospital(others, "tiny", 3, tr=1.5)
    tiny = [(who, "control", "n/a") for who, _, _ in tiny]
    write_table(others, [*rows, *tiny])
    code, shown, errors = evaluate(folders, others, tmp_path / "dx", "--no-asks")
    assert code == 0, errors
    assert "29 people of 3 sites are tested" in shown
    over = json.loads((tmp_path / "dx" / "over_sites.json").read_text())
    assert {one["sites"] for one in over} == {3}
    code, shown, errors = evaluate(folders, others, tmp_path / "age", "--no-asks", task="age")
    assert code == 0, errors
    assert "26 people of 2 sites are tested; 3 left out: no age" in shown
    assert json.loads((tmp_path / "age" / "over_sites.json").read_text()) == []  # two sites


@pytest.mark.slow
def test_another_number_of_rois_is_refused_and_another_order_is_not(folders, others, tmp_path):
    _, _, errors = evaluate(folders, others, tmp_path / "as they are", "--no-asks")
    with np.load(others / "east.npz") as file:
        arrays = dict(file)
    order = np.random.default_rng(0).permutation(ROIS)
    moved = {"ts": arrays["ts"][:, order], "roi": arrays["roi"][order]}
    np.savez(others / "east.npz", **(arrays | moved))
    code, _, errors = evaluate(folders, others, tmp_path / "moved", "--no-asks")
    assert code == 0, errors
    assert figures(tmp_path / "moved") == figures(tmp_path / "as they are")
    fewer = {"ts": arrays["ts"][:, :10], "roi": arrays["roi"][:10]}
    np.savez(others / "east.npz", **(arrays | fewer))
    code, _, errors = evaluate(folders, others, tmp_path / "fewer", "--no-asks")
    assert code == 1
    assert (
        "east.npz: expected the 16 ROIs of those who train, by name, found 10 of which 10 are "
        "among them; parcellate its scans with the same atlas"
    ) in errors


@pytest.mark.slow
def test_people_in_both_are_left_out_of_training_and_it_is_said(folders, others, tmp_path):
    with np.load(folders / "train" / "north.npz") as file:
        scans = np.split(file["ts"], np.cumsum(file["lengths"])[:-1])
        people = file["participant_id"].tolist()
    # Two by their name at their hospital, other scans; one by the numbers, under another name.
    rng = np.random.default_rng(3)
    new = [scan + rng.standard_normal(scan.shape).astype(np.float32) for scan in scans[:2]]
    save(others / "north.npz", new, people[:2])
    save(others / "abroad.npz", scans[5:6], ["someone else"])
    table = (others / "participants.tsv").read_text().splitlines()[1:]
    rows = [tuple(line.split("\t")) for line in table]
    more = [(people[0], "case", "30"), (people[1], "control", "31"), ("someone else", "case", "32")]
    write_table(others, [*rows, *more])
    code, shown, errors = evaluate(folders, others, tmp_path / "out", "--no-asks")
    assert code == 0, errors
    assert "3 people are among those who train and those who are tested: left out of" in shown
    assert "45 people of 3 sites train, 29 people of 4 sites are tested" in shown
    assert "1 of 4 tested hospitals is among those that train, by name: north" in shown
    page = " ".join(unexplained((tmp_path / "out" / "results.html").read_text()).split())
    assert "3 people are among those who train" in page
    assert people[5] not in shown + page and "someone else" not in shown + page


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("column", "expected tested people whose 'diagnosis' is known and who fit the task, found "
                   "none of 26 people of the folder of --test; complete its participants.tsv"),
        ("nothing", "expected scan stores or site archives (.npz) in"),
        ("itself", "expected people to train on beside them, found none"),
        ("protocol", "expected --test or --protocol, found both"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_refused_in_one_line(folders, others, tmp_path, change, expected):
    more = []
    if change == "column":
        (others / "participants.tsv").unlink()
    elif change == "nothing":
        others = tmp_path / "nothing"
        others.mkdir()
    elif change == "itself":
        others = folders / "train"
    else:
        more = ["--protocol", "kfold"]
    code, _, errors = evaluate(folders, others, tmp_path / "out", "--no-asks", *more)
    assert code == 1 and expected in errors


def test_what_is_asked_of_other_hospitals_needs_them(folders, tmp_path):
    words = ["evaluate", folders / "train", "--task", "diagnosis", "--out", tmp_path, "--no-asks"]
    found = CliRunner().invoke(command(), [str(word) for word in words])
    assert found.exit_code == 1
    assert "expected --test with --no-asks, found none" in " ".join(found.output.split())
