"""Every path that a command takes, and all that may be wrong with it: told in words, at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main
from click import unstyle
from made_contract import make_contract
from small_workplace import write_workplace
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_simulations.paper_studies.settings import study_file

NEW = "new"  # the name of what a command is to write
SITE = {"site": "site.yaml", "--model": "run"}
TASK = {"--task": "task.yaml", "--protocol": "protocol.yaml"}
# What is right for each argument and option, so that one of them alone is wrong at a time.
CALLS: dict[str, dict[str, str]] = {
    "import": {"archives": "a.npz", "--out": NEW, "--participants": "a.tsv"},
    "import-folder": {
        "folder": "series", "--names": "names.txt", "--tr": "2", "--out": NEW,
        "--participants": "a.tsv",
    },
    "relabel": {"store": "stores/a", "--participants": "a.tsv"},
    "phenotypes": {"cohort": "camcan", "tables": "a.tsv", "--out": NEW},
    "pretrain": {"stores": "stores", "--out": NEW, "--settings": "study.yaml"},
    "measure": {"run": "run", "stores": "stores", "--settings": "study.yaml"},
    "export": {"model": "run", "--out": NEW, "--results": "evaluated"},
    "simulate": {
        "scenario": "scenario.yaml", "--out": NEW, "--data": "stores", "--site": "site.yaml",
    },
    "simulate attack": {"scenario": "made_up.yaml", "--out": NEW},
    "simulate study": {"study": "paper_study.yaml", "--data": "stores", "--out": NEW},
    "demo": {"--out": NEW},
    "paint": {"--out": NEW, "--scenario": "demo"},
    "evaluate": {
        "data": "stores", "--test": "stores", "--out": NEW, **TASK, "--checkpoint": "run",
        "--finetune": "no",
    },
    "evaluate-sites": {"run": "run", "--task": "task.yaml"},
    "site embed": {**SITE, "--out": NEW},
    "site import-vectors": {"site": "site.yaml", "table": "a.tsv", "--name": "t1"},
    "site probe": {**SITE, **TASK, "--out": NEW},
    "site finetune": {
        **SITE, "--task": "task.yaml", "--settings": "finetune.yaml", "--out": NEW,
    },
    "site interpret": {**SITE, "--model": "finetuned", "--task": "task.yaml", "--out": NEW},
    "site evaluate": {**SITE, **TASK, "--finetune": "no", "--out": NEW},
    "site validate": {"site": "painted/site.yaml", "--out": NEW},
    "site prepare": {
        "words": "painted/fmriprep", "out": NEW, "level": "participant",
        "--label-image": "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.nii.gz",
        "--label-table": "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.tsv",
        "--atlas": "painted/atlas.tsv",
    },
    "site qc": {"site": "site.yaml"},
    "site log": {"site": "site.yaml"},
    "site remove": {"site": "site.yaml", "person": "nobody"},
    "site dry-run": {
        "site": "site.yaml",
        "--settings": "study.yaml",
        "--contract": "contract.json",
        "--out": NEW,
    },
    "site init": {
        "site": NEW, "--name": "lyon", "--kind": "fmriprep", "--folder": "painted/fmriprep",
        "--label-image": "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.nii.gz",
        "--label-table": "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.tsv",
        "--atlas": "painted/atlas.tsv", "--names": "names.txt", "--store": NEW, "--state": NEW,
    },
    "schema": {"kind": "site"},
    "site check": {"site": "site.yaml"},
    "site review": {"site": "site.yaml", "--contract": "contract.json"},
    "site budget": {"site": "site.yaml"},
    "site approve": {"site": "site.yaml", "contract": "0123456789ab"},
    "site reject": {"site": "site.yaml", "contract": "0123456789ab"},
    "site withdraw": {"site": "site.yaml", "contract": "0123456789ab"},
    "site join": {"kit": "consortium/kit", "site": "site.yaml", "--fingerprint": "00"},
    "site preflight": {"site": "site.yaml"},
    "site start": {"site": "site.yaml"},
    "site stop": {"site": "site.yaml"},
    "site status": {"site": "site.yaml"},
    "server report": {"folder": "run"},
    "server init": {"folder": NEW, "--host": "localhost"},
    "server admit": {"requests": "Lyon.request", "--dir": "consortium"},
    "server revoke": {"name": "Lyon", "--dir": "consortium"},
    "server sites": {"folder": "consortium"},
    "server plan": {"study": "federation.yaml", "--people": "26"},
    "server propose": {"study": "federation.yaml", "--dir": "consortium"},
    "server start": {"folder": "consortium", "study": "federation.yaml"},
    "server stop": {"folder": "consortium"},
    "server status": {"folder": "consortium"},
    "server log": {"folder": "consortium"},
    "fetch abide": {"--out": NEW},
    "consortium try": {"folder": NEW, "--scenario": "scenario.yaml"},
}  # fmt: skip
NO_PATH = {
    "--tr", "level", "person", "name", "contract", "--host", "--fingerprint", "--people", "--kind",
    "--name", "kind", "cohort",
}  # fmt: skip
FILES_BY_WORD = {
    "scenario",
    "study",
    "--scenario",
    "--task",
    "--protocol",
    "--finetune",
    "--model",
    "--checkpoint",
}
WRITTEN_WORDS = {"words", "--atlas"}  # of text, since they may be no path
EMPTY_IS_DEFAULT = {"--settings", "--protocol", "--finetune"}
# Half a table is a table; names that are not a scan's are a problem of that scan, which is named.
TRUE_ELSEWHERE = {
    ("half", "--participants"), ("half", "--label-table"), ("text", "--names"), ("half", "--names"),
    ("half", "tables"), ("half", "table"),
}  # fmt: skip
LOOKED_INTO_LATER = {"site init"}  # by site validate; here a path has to be there
PYTHON = re.compile(
    r"Traceback|\w+(Error|Exception)\b|Errno|<class|<_io|PosixPath|NoneType|\bNone\b|dtype"
    r"|\[\]|codec|object at 0x"
)


def leaves(found: click.Command, words: str = "") -> Iterator[tuple[str, click.Command]]:
    below = getattr(found, "commands", None)
    if below is None:
        yield words, found
    for name, one in (below or {}).items():
        yield from leaves(one, f"{words} {name}".strip())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = write_workplace(tmp_path_factory.mktemp("workplace"))
    (folder / "scenario.yaml").write_text(
        "data: stores\nstudy: {name: a, rounds: {local_steps: 1, quorum: 1}, pretraining: "
        "{training: {schedule: {total_steps: 1}}}}\n"
    )
    (folder / "made_up.yaml").write_text(
        "cohort: {sites: 1}\nstudy: {name: a, rounds: {local_steps: 1, quorum: 1}, pretraining: "
        "{training: {schedule: {total_steps: 1}}}}\n"
    )
    (folder / "paper_study.yaml").write_text(study_file("attention").read_text())
    (folder / "federation.yaml").write_text(
        "name: a\nrounds: {local_steps: 1, quorum: 1}\n"
        "pretraining: {training: {schedule: {total_steps: 1}}}\n"
    )
    (folder / "contract.json").write_text(make_contract().text)
    return folder


def wrong_files(folder: Path, good: Path) -> Iterator[Path]:
    """What may stand where a file or folder of one's own should."""
    name = f"wrong{''.join(good.suffixes)}"
    for kind in ("missing", "link", "folder", "empty", "binary", "text", "unreadable", "half"):
        (folder / kind).mkdir()
    yield folder / "missing" / name
    (folder / "link" / name).symlink_to(folder / "nowhere")
    yield folder / "link" / name
    (folder / "folder" / name).mkdir()
    yield folder / "folder" / name
    (folder / "empty" / name).touch()
    yield folder / "empty" / name
    (folder / "binary" / name).write_bytes(bytes(range(256)) * 9)
    yield folder / "binary" / name
    (folder / "text" / name).write_text("Dear all,\nwhat is this?\n")
    yield folder / "text" / name
    (folder / "unreadable" / name).symlink_to("/proc/self/mem")  # which even root cannot read
    yield folder / "unreadable" / name
    if good.is_file():
        (folder / "half" / name).write_bytes(good.read_bytes()[: good.stat().st_size // 2])
        yield folder / "half" / name


def wrong_places(folder: Path, words: str) -> Iterator[Path]:
    """Where nothing can be written, or must not be."""
    (folder / "taken").write_text("mine")
    yield folder / "taken" / "wrong"
    (folder / "wrong").symlink_to(folder / "nowhere" / "deep")
    yield folder / "wrong"
    if words != "export":  # which refuses the model before
        yield Path("/proc/wrong")


def call(words: str, values: dict[str, str], folder: Path, new: Path) -> tuple[int, str]:
    """Exit code, and what is told, each run of whitespace and frames one blank."""
    arguments = words.split()
    for name, value in values.items():
        text = str(new) if value == NEW else value
        text = text if name in NO_PATH or text in ("no", "demo") else str(folder / text)
        arguments += [name, text] if name.startswith("--") else [text]
    result = CliRunner(env={"COLUMNS": "999"}).invoke(command(), arguments)
    return result.exit_code, " ".join(unstyle(result.stderr).replace("│", " ").split())


def test_every_path_of_every_command_is_tried():
    for words, found in leaves(typer.main.get_command(command())):
        if words not in CALLS:  # a command that is new here
            assert not found.params, f"add '{words}' to CALLS"
        for parameter in found.params:
            name = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.name
            by_word = FILES_BY_WORD | WRITTEN_WORDS
            bids_task = words in ("site prepare", "site init") and name == "--task"
            if isinstance(parameter.type, click.Path) or (name in by_word and not bids_task):
                assert name in CALLS[words], f"add {name} of '{words}' to CALLS"


@pytest.mark.parametrize("words", CALLS)
def test_a_wrong_path_is_named_in_words(words, workplace, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (workplace / "run").rglob("*")}
    for number, (name, good) in enumerate(CALLS[words].items()):
        if name in NO_PATH:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        of_files = wrong_files(folder, workplace / good)
        for wrong in wrong_places(folder, words) if good == NEW else of_files:
            kind = wrong.parent.name
            later = kind == "proc" if good == NEW else kind not in ("missing", "link")
            if words in LOOKED_INTO_LATER and name != "site" and later:
                continue
            if (kind, name) in TRUE_ELSEWHERE or (kind == "empty" and name in EMPTY_IS_DEFAULT):
                continue
            other = "--protocol" if name == "--test" else "--test"  # refuse each other
            values = {k: v for k, v in {**CALLS[words], name: str(wrong)}.items() if k != other}
            code, told = call(words, values, workplace, folder / "new")
            where = f"{words} {name} {kind}: {told}"
            assert code in (1, 2), where
            assert "wrong" in told or "taken" in told, where
            assert not PYTHON.search(told.replace(str(tmp_path), "")), where
            assert ("expected " in told and "found " in told) or code == 2, where
            left = {path.name for path in (folder / "new").rglob("*")}
            assert left <= {"origin.json"}, where  # a simulation claims its folder first
    assert {path: path.stat().st_mtime_ns for path in (workplace / "run").rglob("*")} == before
