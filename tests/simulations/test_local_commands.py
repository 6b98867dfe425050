"""The command as its users call it: import, pretrain, measure, and errors in one line."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from click import unstyle
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

import brainjepa
from brainjepa import command
from brainjepa_core.atlas import Atlas
from brainjepa_core.command.command_log import LOG
from brainjepa_core.command.terminal import errors_in_one_line
from brainjepa_core.evaluation.measure import JOINT, YardstickScore
from brainjepa_core.files import lone_writer
from brainjepa_core.pretraining.local import LOCK
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.signals.window_settings import WindowSettings

NETWORKS, PER_NETWORK, PEOPLE, FRAMES = 3, 3, 6, 40
ROIS = [f"17Networks_LH_{n}_{i}" for n in ("Vis", "Som", "Def") for i in range(PER_NETWORK)]
STUDY = {
    "model": {
        "width": 8, "depth": 1, "heads": 2, "patch": 4,
        "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
    },
    "windows": {"frames": 16},
    "basis": {"components": 3, "sparsity": 0.2},
    "training": {"batch_size": 4, "schedule": {"total_steps": 4}},
}  # fmt: skip
POOLS = ["mean", "std", "time_std", "network_covariance", JOINT]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command(), [str(argument) for argument in arguments])


def success(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return unstyle(result.stdout)


def failure(*arguments: object) -> str:
    """The one line that is left of an error."""
    result = run(*arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    assert "Traceback" not in result.output
    shown = unstyle(result.stderr)  # a terminal that is forced by the environment has colours
    assert shown.startswith("Error: ") and shown.count("\n") == 1
    return shown[len("Error: ") : -1]


def refused_by_the_parser(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output
    return " ".join(unstyle(result.stderr).replace("│", " ").split())


def site_archive(path: Path, seed: int = 0, **changes) -> Path:
    """A site's archive: people whose networks move together, each in a way of their own."""
    rng = np.random.default_rng(seed)
    scans = []
    for _ in range(PEOPLE):
        mixing = np.eye(NETWORKS) + 0.5 * rng.standard_normal((NETWORKS, NETWORKS))
        signal = mixing @ rng.standard_normal((NETWORKS, FRAMES))
        noise = rng.standard_normal((len(ROIS), FRAMES))
        scans.append((np.repeat(signal, PER_NETWORK, axis=0) + noise).T)
    parts = {
        "ts": np.concatenate(scans).astype(np.float32),
        "lengths": np.full(PEOPLE, FRAMES),
        "participant_id": np.array([f"{path.stem}-{i}" for i in range(PEOPLE)]),
        "tr": np.float32(2.0),
        "roi": np.array(ROIS),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{**parts, **changes})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Stores of two sites with ages, and the settings of a study, for tests that only read."""
    folder = tmp_path_factory.mktemp("study")
    archives = [site_archive(folder / f"{name}.npz", seed) for seed, name in enumerate("ab")]
    ages = [f"{name}-{i}\t{20 + 3 * i}" for name in "ab" for i in range(PEOPLE)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tage", *ages]) + "\n")
    success(
        "import", *archives, "--out", folder / "stores",
        "--participants", folder / "participants.tsv",
    )  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


@pytest.fixture(scope="module")
def finished(folder) -> Path:
    out = folder / "run"
    success("pretrain", folder / "stores", "--out", out, "--settings", folder / "study.yaml")
    return out


def contents(folder: Path) -> dict[Path, bytes]:
    """All but the log of commands, which grows with each."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOG)
    return {path: path.read_bytes() for path in files}


def test_import_makes_one_store_a_site_and_repeating_it_changes_nothing(tmp_path):
    archives = [site_archive(tmp_path / f"{name}.npz", seed) for seed, name in enumerate("ab")]
    people = tmp_path / "people.tsv"
    people.write_text("participant_id\tage\na-0\t31.5\n")
    command = ["import", *archives, "--out", tmp_path / "stores", "--participants", people]
    shown = success(*command)
    assert shown == (
        "a: 5 people have no row of phenotypes, such as 'a-1'\n"
        "a: 6 scans, 9 ROIs\n"
        "b: 6 people have no row of phenotypes, such as 'b-0'\n"
        "b: 1 person of the tables has no scan, such as 'a-0'\n"
        "b: 6 scans, 9 ROIs\n"
    )
    a, b = (ScanStore.open(tmp_path / "stores" / name) for name in "ab")
    assert a.records[0].phenotypes == {"age": 31.5} and b.records[0].phenotypes == {}
    with np.load(archives[0]) as archive:
        assert np.array_equal(a.series(a.records[1]), archive["ts"][FRAMES : 2 * FRAMES].T)
    before = contents(tmp_path / "stores")
    assert success(*command) == shown
    assert contents(tmp_path / "stores") == before


def test_archives_that_cannot_be_imported_are_one_line(tmp_path):
    out = ["--out", tmp_path / "stores"]
    # Square brackets of a text are no markup.
    wrong = site_archive(tmp_path / "wrong.npz", lengths=np.full(PEOPLE, FRAMES + 1))
    assert "expected ts [sum of lengths, ROIs], one participant_id" in failure(
        "import", wrong, *out
    )
    (tmp_path / "text.npz").write_text("no archive")
    text = failure("import", tmp_path / "text.npz", *out)
    assert ": expected a site archive (.npz with ts, lengths," in text
    assert text.startswith("text.npz: ") and text.endswith("or export it again")
    (tmp_path / "README.md").write_text("no archive")
    for name, found in (("README.md", "another kind of file"), ("", "a folder")):
        text = failure("import", tmp_path / name, *out)
        assert text.startswith(f"{(tmp_path / name).name}: expected a site archive (.npz with ts, ")
        assert text.endswith(f", found {found}; give the archive, or export it again")
    same = [site_archive(tmp_path / name / "same.npz", seed) for seed, name in enumerate("xy")]
    text = failure("import", *same, *out)
    assert text.startswith("expected archives of different names, found two of one name")
    assert not (tmp_path / "stores").exists()
    missing = refused_by_the_parser("import", tmp_path / "absent.npz", *out)
    assert "does not exist" in missing
    sound = site_archive(tmp_path / "sound.npz")
    missing = refused_by_the_parser("import", sound, *out, "--participants", tmp_path / "no.tsv")
    assert "does not exist" in missing and not (tmp_path / "stores").exists()


def test_an_output_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("")
    text = refused_by_the_parser(
        "import", site_archive(tmp_path / "a.npz"), "--out", tmp_path / "taken"
    )
    assert "'--out': expected a folder or the name of a new one, found the file" in text


def test_import_folder(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    series = np.random.default_rng(0).standard_normal((2, FRAMES, 3))
    np.savetxt(scans / "sub-01_ses-1_bold.tsv", series[0], delimiter="\t")
    np.save(scans / "sub-02_bold.npy", series[1])
    (tmp_path / "names.txt").write_text("left\nright\nmiddle\n")
    command = ["import-folder", scans, "--names", tmp_path / "names.txt", "--tr", 1.5]
    command += ["--out", tmp_path / "store"]
    assert success(*command) == "2 scans, 3 ROIs\n"
    store = ScanStore.open(tmp_path / "store")
    assert [r.key for r in store.records] == [("sub-01", "1", ""), ("sub-02", "", "")]
    assert [r.tr for r in store.records] == [1.5, 1.5]
    assert np.allclose(store.series(store.records[0]), series[0].T)
    before = contents(tmp_path / "store")
    assert success(*command) == "2 scans, 3 ROIs\n" and contents(tmp_path / "store") == before

    (tmp_path / "names.txt").write_text("left\nright\n")
    text = failure(*command[:-1], tmp_path / "other")
    assert text.startswith(
        "sub-01_ses-1_bold.tsv: expected 2 columns, one a name, found shape [40,"
    )
    text = refused_by_the_parser("import-folder", tmp_path / "names.txt", *command[2:])
    assert "is a file" in text


def test_pretraining_ends_with_a_model_and_repeating_it_changes_nothing(folder, tmp_path):
    out = tmp_path / "a rather long name of a run folder, so that its line would be broken" / "run"
    command = ["pretrain", folder / "stores", "--out", out, "--settings", folder / "study.yaml"]
    shown = success(*command)
    assert (
        "12 people of 2 sites, 9 ROIs x 16 frames = 36 tokens; tiny, recipe default, 4 steps of 4"
        in " ".join(shown.split())
    )
    assert shown.splitlines()[-1] == f"{out / 'final'} holds the model"
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2, 3]
    client = MlflowClient(f"sqlite:///{out.parent / 'mlflow.db'}")
    kept = client.get_run((out / "mlflow_run.txt").read_text().strip())
    assert kept.info.status == "FINISHED" and {"loss", "learning_rate"} <= kept.data.metrics.keys()
    before = contents(out)
    assert success(*command).splitlines()[-1] == f"{out / 'final'} holds the model"
    assert contents(out) == before


def test_a_model_that_was_lost_comes_back_from_the_last_state(folder, tmp_path):
    command = ["pretrain", folder / "stores", "--out", tmp_path / "run"]
    command += ["--settings", folder / "study.yaml"]
    success(*command)
    before = contents(tmp_path / "run")
    for file in (tmp_path / "run" / "final").iterdir():
        file.unlink()
    (tmp_path / "run" / "final").rmdir()
    success(*command)
    assert contents(tmp_path / "run") == before


def test_steps_that_are_taken_again_stand_in_mlflow_once(folder, tmp_path):
    out = tmp_path / "run"
    command = ["pretrain", folder / "stores", "--out", out, "--settings", folder / "study.yaml"]
    success(*command)
    for lost in ("final", "states"):
        shutil.rmtree(out / lost)
    success(*command)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    history = client.get_metric_history((out / "mlflow_run.txt").read_text().strip(), "loss")
    assert [metric.step for metric in history] == [3]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--reduce", "sum"], "expected --reduce beside --devices, found no --devices; name sever"),
        (["--shard"], "expected --shard beside --devices, found no --devices; name several"),
        (["--devices", "cpu,cpu", "--device", "cpu"], "expected --device or --devices, found both"),
    ],
)
def test_options_that_would_not_be_read_are_refused(folder, tmp_path, options, error):
    command = ["pretrain", folder / "stores", "--settings", folder / "study.yaml"]
    assert failure(*command, "--out", tmp_path / "run", *options).startswith(error)
    assert not (tmp_path / "run").exists()


def test_a_store_named_twice_counts_once(folder, tmp_path):
    stores = [folder / "stores", folder / "stores" / "a", folder / "stores" / ".." / "stores" / "b"]
    command = ["pretrain", *stores, "--out", tmp_path, "--settings", folder / "study.yaml"]
    assert success(*command).startswith("12 people of 2 sites")


def test_settings_that_do_not_fit_are_one_line_and_leave_nothing_behind(folder, tmp_path):
    file, out = tmp_path / "study.yaml", tmp_path / "run"
    for change, text in (
        ({"windwos": {}}, "windwos: no such field; check the spelling or remove it"),
        (
            {"training": {"schedule": {"total_steps": "many"}}},
            "training.schedule.total_steps: expected a whole number, found 'many'; correct it",
        ),
        (
            {"preset": "huge"},
            "expected a preset among tiny, small, base, large, found 'huge'; take "
            "one of these or give the sizes themselves",
        ),
        ({"model": {"widht": 8}}, "widht: no such field; check the spelling or remove it"),
        (
            {"model": {"patch": 5}},
            "expected frames to be a multiple of patch, found 16 frames and patch "
            "5; choose frames 15",
        ),
    ):
        file.write_text(yaml.safe_dump({**STUDY, **change}))
        found = failure("pretrain", folder / "stores", "--out", out, "--settings", file)
        assert found.startswith("study.yaml") and found.endswith(f": {text}")
    file.write_text("model: {")
    found = failure("pretrain", folder / "stores", "--out", out, "--settings", file)
    assert found == (
        "study.yaml line 1, column 9: expected YAML, found nothing where a value should be; "
        "write one"
    )
    found = failure("pretrain", folder / "stores", "--out", out, "--settings", tmp_path / "no.yaml")
    assert found.startswith("no.yaml: expected a readable YAML file, found no such file: ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: WindowSettings(frames=0),
            "frames: expected a number of at least 1, ",
        ),
        (
            lambda: Path("absent").read_text(),
            "expected to read or write 'absent', found no such file; check the ",
        ),
        (
            lambda: int("[/bold] a [red]\n\nb" + 99 * " c"),
            "invalid literal for int() with base 10: ",
        ),
    ],
)
def test_an_error_is_one_line_whoever_wrote_it(capsys, make, text):
    with pytest.raises(typer.Exit) as stopped, errors_in_one_line():
        make()
    shown, wrong = map(unstyle, capsys.readouterr())
    assert stopped.value.exit_code == 1 and shown == ""
    assert wrong.startswith(f"Error: {text}") and wrong.count("\n") == 1
    assert ("[/bold] a [red]" in wrong) == ("literal" in text)


def test_every_problem_has_a_line(capsys, tmp_path):
    (tmp_path / "windows.yaml").write_text("frames: 0\n\nframe: 3\n")
    with pytest.raises(typer.Exit), errors_in_one_line():
        read_settings(tmp_path / "windows.yaml", WindowSettings)
    assert unstyle(capsys.readouterr().err) == (
        "Error: windows.yaml line 1: frames: expected a number of at least 1, found 0; correct it\n"
        "windows.yaml line 3: frame: no such field; check the spelling or remove it\n"
    )


def test_a_run_of_other_settings_is_not_continued(folder, finished, tmp_path):
    before = contents(finished)
    changed = {**STUDY, "training": {"batch_size": 2, "schedule": {"total_steps": 4}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed))
    command = ["pretrain", folder / "stores", "--out", finished, "--settings"]
    text = failure(*command, tmp_path / "study.yaml")
    assert text == (
        "expected the same training.batch_size as the results in this folder were made from "
        "(origin.json), found others; go back to those, or start a new folder"
    )
    assert contents(finished) == before


def test_what_is_no_store_is_one_line(folder, tmp_path):
    text = failure("pretrain", tmp_path, "--out", tmp_path / "run")
    assert text == (
        f"expected a scan store with a readable store.json, found no such file in '{tmp_path}'; "
        "correct the path, or make the store (brainjepa import, or site prepare)"
    )
    store = tmp_path / "store"
    store.mkdir()
    (store / HEADER).write_bytes((folder / "stores" / "a" / HEADER).read_bytes())
    (store / TABLE).write_text("")
    text = failure("pretrain", store, "--out", tmp_path / "run")
    assert text.startswith("expected at least one store with a scan, found none; import scans")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", [[], ["--devices", "cpu,cpu"]], ids=["one", "several"])
def test_a_folder_in_which_another_command_trains_is_one_line(folder, tmp_path, devices):
    out = tmp_path / "run"
    out.mkdir()
    training = {**STUDY["training"], "accumulation": 2}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "training": training}))
    command = ["pretrain", folder / "stores", "--out", out, "--settings", tmp_path / "study.yaml"]
    with lone_writer(out / LOCK, "", wait=False):
        text = failure(*command, *devices)
    assert text == (
        f"expected to be alone in writing into the run '{out}', found another command at work "
        f"there (process {os.getpid()} of {socket.gethostname()}); wait until it has ended, and "
        "run this one again"
    )


def test_a_device_that_is_not_there_is_one_line(folder, finished, tmp_path):
    for device in ("cuda:99", "abacus"):
        text = (
            f"expected a device of this machine, found '{device}'; use cpu, or cuda where torch "
            "sees a GPU"
        )
        options = ["--settings", folder / "study.yaml", "--device", device]
        assert failure("pretrain", folder / "stores", "--out", tmp_path / "run", *options) == text
        assert failure("measure", finished, folder / "stores", *options) == text
    assert not (tmp_path / "run").exists()


def test_measuring_prints_the_table_and_writes_it(folder, finished):
    options = ["--settings", folder / "study.yaml"]
    shown = success("measure", finished, folder / "stores", *options)
    rows = [YardstickScore(**row) for row in json.loads((finished / "yardstick.json").read_text())]
    expected = [
        (model, pool, outcome)
        for model in ("pretrained", "random weights")
        for pool in POOLS
        for outcome in ("connectivity", "age within site")
    ]
    expected.append(("connectivity", "networks", "age within site"))
    assert [(row.model, row.pool, row.outcome) for row in rows] == expected
    assert all(np.isfinite(row.r2) and row.r2 < 1 for row in rows)
    lines = [line.split() for line in shown.splitlines()]
    for pool in ("std", "time_std"):
        trained, random = (
            [row for row in rows if (row.model, row.pool) == (model, pool)]
            for model in ("pretrained", "random weights")
        )
        assert [row.r2 for row in trained] != [row.r2 for row in random]
        for found in (trained, random):
            values = [str(found[0].features), *(f"{row.r2:.3f}" for row in found)]
            assert any([c for c in line if c in values] == values for line in lines), shown
    assert "Held-out R2 (5 folds, ridge); 0 is knowing nothing" in shown
    # Connectivity is not read from connectivity.
    (baseline,) = [line for line in lines if "networks" in line]
    assert baseline[-4:-1] == ["-", "│", f"{rows[-1].r2:.3f}"]
    before = (finished / "yardstick.json").read_bytes()
    success("measure", finished, folder / "stores", *options)
    assert (finished / "yardstick.json").read_bytes() == before


def test_measuring_refuses_other_settings_and_runs_without_a_model(folder, finished, tmp_path):
    options = ["--settings", folder / "study.yaml"]
    text = failure("measure", tmp_path, folder / "stores", *options)
    assert text == (
        "expected a model folder with model.json and model.safetensors, found no such file in "
        f"'{tmp_path / 'final'}'; give the folder of a model, a run or a study"
    )
    assert list(tmp_path.iterdir()) == []
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**STUDY, "model": {**STUDY["model"], "width": 16}}))
    text = failure("measure", finished, folder / "stores", "--settings", other)
    assert text.startswith("expected the model settings of the run, found others")
    assert text.endswith("give the --settings it was pretrained with")
    text = failure("measure", finished, folder / "stores")
    assert text.startswith("expected signals {'frames': 160,")
    assert text.endswith("or start a new run")


def test_every_command_has_help():
    for name in ("import", "import-folder", "pretrain", "measure"):
        shown = success(name, "--help")
        assert f"Usage: brainjepa {name}" in shown or f"{name} [OPTIONS]" in shown
    assert run().exit_code == 2


def test_a_model_is_exported_as_published_ones_are_kept(tmp_path):
    sizes = {
        "width": 64, "heads": 1, "depth": 1, "patch": 4,
        "predictor_width": 8, "predictor_heads": 1, "predictor_depth": 1,
    }  # fmt: skip
    settings = {
        "recipe": "published",
        "model": sizes,
        "windows": {"frames": 16},
        "basis": {"components": 3, "sparsity": 0.2},
        "training": {"batch_size": 2, "schedule": {"total_steps": 1}},
    }
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((8, 3)) @ rng.standard_normal((3, 30)) for _ in range(3)]
    model = brainjepa.pretrain(series, tmp_path / "run", settings, tr=2.0, progress=False)
    out = tmp_path / "out"
    told = success("export", tmp_path / "run", "--out", out, "--format", "published")
    assert told.strip() == str(out) and "# run" in (out / "README.md").read_text()
    again = brainjepa.load(
        out / "model.pth.tar",
        gradients=out / "gradients.csv",
        windows=brainjepa.WindowSettings(frames=16),
    )
    assert np.allclose(again.tokens(series[0], 2.0), model.tokens(series[0], 2.0), atol=1e-5)
    assert "expected a new folder, found 'out'" in failure("export", tmp_path / "run", "--out", out)
    archive = tmp_path / "model.zip"
    success("export", tmp_path / "run", "--out", archive, "--licence", "cc0-1.0")
    assert np.array_equal(
        brainjepa.load(archive).tokens(series[0], 2.0), model.tokens(series[0], 2.0)
    )


def test_the_card_of_a_run_says_whose_scans_it_learned_from_in_tens(tmp_path):
    rng = np.random.default_rng(0)
    store = brainjepa.create_store(tmp_path / "Lyon", Atlas.from_names(list("abcde"), "five"))
    for person in range(12):
        scan = rng.standard_normal((5, 3)) @ rng.standard_normal((3, 40))
        store.append(scan.astype(np.float32), subject=f"canary-{person}", tr=2.0)
    settings = {
        "model": {
            "width": 8,
            "heads": 1,
            "depth": 1,
            "patch": 4,
            "predictor_width": 8,
            "predictor_heads": 1,
            "predictor_depth": 1,
        },
        "windows": {"frames": 16},
        "basis": {"components": 2, "sparsity": 0.2},
        "training": {"batch_size": 2, "schedule": {"total_steps": 1}},
    }
    other = tmp_path / "later" / "Lyon"  # a store of its own by the same name
    shutil.copytree(tmp_path / "Lyon", other)
    brainjepa.pretrain([tmp_path / "Lyon", other], tmp_path / "run", settings, progress=False)
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    assert card.count("| Lyon | 10 | 10 |") == 2 and "of 2 stores pooled" in card
    assert "1 optimiser step of 2 people" in card
    assert "canary" not in card and str(tmp_path) not in card
