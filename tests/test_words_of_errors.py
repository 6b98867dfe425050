"""What newcomers did wrong, and the whole of what they are told: expected, found, how to mend it.

By the real command line; each of these once told less, or something else.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from child_process import environment
from click import unstyle
from small_workplace import write_workplace
from typer.testing import CliRunner

from brainjepa import command

ROOT = Path(__file__).parents[1]
ARCHIVE = "expected a site archive (.npz with ts, lengths, participant_id, tr, roi; or .h5, .hdf5, "
ARCHIVE += ".mat), found"
GIVE_IT = "give the archive, or export it again"
STORE = "expected a scan store with a readable store.json, found"
NO_STORE = "correct the path, or make the store (brainjepa import, or site prepare)"
MODEL = "expected a model folder with model.json and model.safetensors, found"
NO_MODEL = "give the folder of a model, a run or a study"
CALL = ("painted/fmriprep", "o", "participant")
IMAGE = ("--label-image", "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.nii.gz")
TASK = ("--task", "task.yaml", "--out", "o")
PLACES = "name: a\nstore: stores/a\nstate: state\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture
def workplace(made, monkeypatch) -> Path:
    """Where the command is called."""
    monkeypatch.chdir(made)
    return made


def told(*words: object) -> str:
    """What a command that ends with 1 says on standard error."""
    result = CliRunner().invoke(command(), [str(word) for word in words])
    assert result.exit_code == 1, result.output
    text = unstyle(result.stderr)
    assert text.startswith("Error: ") and text.endswith("\n")
    return text.removeprefix("Error: ")[:-1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("site", "check", "painted/site.yaml"),
            f"{STORE} no such file in 'painted/store'; {NO_STORE}",
        ),
        (
            ("site", "dry-run", "painted/site.yaml"),
            f"{STORE} no such file in 'painted/store'; {NO_STORE}",
        ),
        (
            ("site", "evaluate", "painted/site.yaml", *TASK),
            f"{STORE} no such file in 'painted/store'; {NO_STORE}",
        ),
        (
            ("site", "validate", "site.yaml"),
            "expected a section 'prepare' in the YAML of site 'a', found none; say where the scans "
            "are (prepare.input; see site_configs/site_fmriprep.yaml)",
        ),
        (
            ("import", "names.txt", "--out", "o"),
            f"names.txt: {ARCHIVE} another kind of file; {GIVE_IT}",
        ),
        (("import", "series", "--out", "o"), f"series: {ARCHIVE} a folder; {GIVE_IT}"),
        (
            ("import", "wrong.npz", "--out", "o"),
            "wrong.npz: expected ts, lengths, participant_id, tr, roi in the archive, found no ts, "
            "lengths, participant_id, tr, roi; give a site archive, or add what it lacks",
        ),
        (
            ("site", "prepare", "a", "b"),
            "expected SITE.yaml, or IN OUT participant [--participant-label 01 02], found 'a b'; "
            "the level is participant or group",
        ),
        (
            ("site", "prepare", *CALL),
            "--label-image: expected a label_image for input of kind 'fmriprep', found none; give "
            "the atlas as a NIfTI label image in the scans' space, or as a CIFTI dlabel",
        ),
        (
            ("site", "prepare", *CALL, *IMAGE, "--preset", "24p"),
            "--preset: expected 'none', 'simple_motion', 'motion24_acompcor' or 'motion36', found "
            "'24p'; correct it",
        ),
        (
            ("site", "prepare", "painted/site.yaml", "--task", "rest", "--preset", "none"),
            "expected --preset, --task in a call IN OUT participant only, found beside "
            "'painted/site.yaml'; write it into that file (prepare.cleaning.preset, "
            "prepare.input.task), or leave it out",
        ),
        (
            ("site", "finetune", "site.yaml", "--model", "run", "--task", "no-such-task.yaml",
             "--out", "run"),
            "no-such-task.yaml: expected a readable YAML file, found no such file: "
            "'no-such-task.yaml'; correct the path, or save the file as UTF-8",
        ),
        (
            ("evaluate", "stores", *TASK, "--finetune", "maybe"),
            "expected --finetune to be no, yes or a YAML file, found 'maybe'; take one of these",
        ),
        (
            ("evaluate", "stores", *TASK, "--protocol", "loso"),
            "expected --protocol to be holdout, kfold, leave_one_site_out, transfer, personalised, "
            "brainmarks, column or a YAML file, found 'loso'; take one of these",
        ),
        (
            ("evaluate", "stores", *TASK, "--checkpoint", "nosuch"),
            f"{MODEL} no such file in 'nosuch'; {NO_MODEL}",
        ),
        (("measure", "stores", "stores"), f"{MODEL} no such file in 'stores/final'; {NO_MODEL}"),
        (("export", "stores", "--out", "o"), f"{MODEL} no such file in 'stores'; {NO_MODEL}"),
        (
            ("site", "interpret", "site.yaml", "--model", "run", *TASK),
            "expected a fine-tuned model with finetuned.json and finetuned.safetensors that fit, "
            "found no such file in 'run'; copy the folder again, or fine-tune anew",
        ),
        (
            ("simulate", "abide", "--out", "o"),
            "abide.yaml: expected either cohort (synthetic sites) or data (a folder), found none; "
            "give one of the two (for data also: --data FOLDER)",
        ),
        (
            ("evaluate-sites", "run", "--task", "age"),
            "expected the folder of a simulated study with its sites, found none in 'run'; give "
            "the --out of brainjepa simulate",
        ),
        (
            ("server", "report", "run"),
            "expected summary.json in the folder of a federated study, found none in 'run'; give "
            "the folder that the coordinator wrote to",
        ),
    ],
)  # fmt: skip
def test_what_is_told(workplace, words, text):
    np.savez(workplace / "wrong.npz", a=1)
    before = sorted(workplace.iterdir())
    assert told(*words) == text
    assert sorted(workplace.iterdir()) == before  # nothing was begun


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            f"{PLACES}policy:\n\tmin_subjects: 3\n",
            "s.yaml line 5, column 1: expected YAML, found a tab; indent with spaces",
        ),
        (
            f"{PLACES}policy: {{min_subjects: 30}}\npolicy: {{}}\n",
            "s.yaml line 5, column 1: expected YAML, found 'policy' a second time (first in line "
            "4); keep one of the two",
        ),
        (
            "name: a\nstore: nowhere\nstate: state\n",
            "s.yaml line 2: store: expected the folder of a scan store, found 'FOLDER/nowhere', no "
            "such folder; import the scans first (brainjepa import), correct the path, or add a "
            "section prepare that says where the scans are, and make the store (brainjepa site "
            "prepare)",
        ),
        (
            "nmae: a\nstore: store\nstate: state\nprepare:\n  input: {kind: fmripep, folder: x}\n"
            "  phenotypes: [x/participants.tsv]\n  cleaning: 24p\nthreads: many\n"
            "policy: {min_subjects: 0, share_probe: 3}\ndevice: gpu\n",
            "s.yaml: name: expected a value, found none; add the field\n"
            "s.yaml line 1: nmae: no such field; check the spelling or remove it\n"
            "s.yaml line 5: prepare.input.kind: expected 'fmriprep', 'hcp', 'xcpd', 'ukb', "
            "'series' or 'archive', found 'fmripep'; correct it\n"
            "s.yaml line 5: prepare.input.folder: expected a file or folder, found no 'FOLDER/x'; "
            "correct the path, which starts at the YAML's folder\n"
            "s.yaml line 6: prepare.phenotypes: expected tables of phenotypes, found no "
            "'FOLDER/x/participants.tsv'; correct the path, which starts at the YAML's folder\n"
            "s.yaml line 7: prepare.cleaning: expected fields with values, found '24p'; correct "
            "it\n"
            "s.yaml line 8: threads: expected a whole number, found 'many'; correct it\n"
            "s.yaml line 9: policy.min_subjects: expected a number of at least 1, found 0; correct "
            "it\n"
            "s.yaml line 9: policy.share_probe: expected true or false, found 3; correct it\n"
            "s.yaml line 10: device: expected text of the form (cpu|cuda(:\\d+)?|slurm), found "
            "'gpu'; correct it",
        ),
    ],
)
def test_a_yaml_is_told_line_by_line(workplace, tmp_path, content, text):
    (tmp_path / "s.yaml").write_text(content)
    expected = text.replace("FOLDER", str(tmp_path))
    for name in ("check", "validate", "prepare", "qc", "dry-run"):
        assert told("site", name, tmp_path / "s.yaml") == expected
    embed = ("embed", tmp_path / "s.yaml", "--model", "run", "--out", tmp_path / "e.npz")
    assert told("site", *embed) == expected


def test_a_folder_that_is_there_is_refused_before_training(workplace):
    words = ("site", "finetune", "site.yaml", "--model", "run", "--task", "task.yaml")
    assert told(*words, "--out", "finetuned") == (
        "expected a new folder name, found that 'finetuned' exists; choose another name or remove "
        "the old folder first"
    )


def test_a_folder_of_scans_that_is_not_there_is_told_as_the_call_names_it(workplace):
    assert told("site", "prepare", "fmripep", "o", "participant", *IMAGE) == (
        f"IN: expected a file or folder, found no '{workplace / 'fmripep'}'; correct the path"
    )


def test_a_file_in_the_place_of_a_folder_of_scans(workplace):
    assert told("site", "prepare", "names.txt", "o", "participant", *IMAGE) == (
        "IN: expected a folder for input of kind 'fmriprep', found the file "
        f"'{workplace / 'names.txt'}'; give the folder that holds it, or correct input.kind"
    )


def test_nothing_is_written_into_a_folder_of_scans(workplace):
    text = (
        "expected a place outside the scans' folder '{}', found '{}' within it, where what is "
        "written would be taken for scans; choose another place"
    )
    words = ("series", "--names", "names.txt", "--tr", "2", "--out")
    for out in ("series", "series/store"):
        assert told("import-folder", *words, out) == text.format("series", workplace / out)
    scans = workplace / "painted" / "fmriprep"
    for out in ("painted/fmriprep", "painted/fmriprep/derivatives/brainjepa"):
        call = ("site", "prepare", "painted/fmriprep", out, "participant", *IMAGE)
        assert told(*call) == text.format("painted/fmriprep", workplace / out)
    assert not (scans / "derivatives").exists() and not (workplace / "series" / "store").exists()


def test_the_same_files_by_other_paths_are_no_other_settings(workplace, monkeypatch):
    """From another folder, and with absolute paths in the YAML."""
    monkeypatch.chdir(workplace / "series")
    for place in (Path(".."), workplace):
        site = (workplace / "painted" / "site.yaml").read_text()
        tree = place / "painted" if place.is_absolute() else Path("..", "painted")
        text = site.replace("folder: fmriprep", f"folder: {tree / 'fmriprep'}")
        text = text.replace("atlas: atlas.tsv", f"atlas: {tree / 'atlas.tsv'}")
        (workplace / "painted" / "again.yaml").write_text(text)
        words = ["site", "prepare", "../painted/again.yaml"]
        result = CliRunner().invoke(command(), words)
        assert result.exit_code == 0, result.output
        assert "2 scans in the store" in result.stdout


def test_a_command_of_a_group_is_told_with_its_group():
    for words, whole in ((["validate"], "site validate"), (["report", "x"], "server report"),
                         (["abide"], "fetch abide")):  # fmt: skip
        result = CliRunner(env={"COLUMNS": "200"}).invoke(command(), words)
        text = " ".join(unstyle(result.stderr).replace("│", " ").split())
        assert result.exit_code == 2
        assert f"No such command '{words[0]}'. Did you mean '{whole}'?" in text


def start(folder: Path, *words: object, **how) -> subprocess.Popen[str]:
    """The command in a process (and a process group) of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "brainjepa", *map(str, words)],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1", COLUMNS="300", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )


def test_a_full_disk_names_the_file_and_what_is_kept(made, tmp_path):
    limit = (1000, 1000)  # bytes a file: stands for a full disk
    process = start(
        made, "import", "a.npz", "--out", tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert error.startswith(f"Error: expected room for '{tmp_path / 'a'}")
    assert error.endswith(
        "', found a full disk (or a quota); what was finished before it is kept: make room, and "
        "run the same command again\n"
    )
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("words", "until", "text"),
    [
        (
            ("paint", "--out", "OUT", "--sites", "4", "--subjects", "1"), "site-01",
            "sites that are painted stay: remove them, and run the same command again",
        ),
        (
            ("evaluate", "stores", "--task", "task.yaml", "--out", "OUT", "--checkpoint", "run"),
            "to be trained", "run the same command again to go on",
        ),
        (
            ("site", "evaluate", "site.yaml", "--task", "task.yaml", "--out", "OUT"), "people of",
            "run the same command again to go on",
        ),
    ],
)  # fmt: skip
def test_ctrl_c_says_how_to_go_on(made, tmp_path, words, until, text):
    process = start(made, *(str(tmp_path / "out") if word == "OUT" else word for word in words))
    for line in process.stdout:
        if until in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (130, f"stopped; {text}\n")
    assert f"ERROR stopped; {text}" in (tmp_path / "out" / "brainjepa.log").read_text()
