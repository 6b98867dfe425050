"""Long commands where no terminal is (a batch job): a line every so often, and a log of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click import unstyle
from small_workplace import write_workplace
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.command import waiting as waiting_module
from brainjepa_core.command.command_log import LOG
from brainjepa_core.signals.storing.store import ARRAYS, HEADER

SITE = ("site.yaml", "--model", "run")
TASK = ("--task", "task.yaml", "--protocol", "protocol.yaml")
SCENARIO = """
cohort: {sites: 2, subjects_per_site: 8, rois: 32, networks: 6, frames: 60}
policy: {min_subjects: 1, min_people_in_sum: 1, round_counts_to: 1, min_people_a_feature: 0}
study:
  name: tiny
  floors: {sites: 2, subjects_per_site: 1, subjects: 1}
  rounds: {local_steps: 1, quorum: 2}
  pretraining:
    preset: tiny
    model: {width: 16, depth: 1, heads: 2, predictor_width: 16, predictor_depth: 1,
            predictor_heads: 2}
    windows: {frames: 48}
    basis: {components: 5}
    training: {batch_size: 2, schedule: {total_steps: 2, warmup_steps: 1}}
"""
# Words, what a line says, and the folder that gets the log.
LONG = {
    "import": (("a.npz", "--out", "OUT"), "Importing", "OUT"),
    "import-folder": (
        ("series", "--names", "names.txt", "--tr", "2", "--out", "OUT/store"), "Importing", "OUT",
    ),
    "pretrain": (("stores", "--out", "OUT", "--settings", "study.yaml"), "consensus basis", "OUT"),
    "measure": (("run", "stores", "--settings", "study.yaml"), "Measuring", "run"),
    "paint": (("--out", "OUT", "--subjects", "1"), "Painting site-01", "OUT"),
    "simulate": (("scenario.yaml", "--out", "OUT", "--compare"), "Study", "OUT"),
    "evaluate": (("stores", "--out", "OUT", *TASK, "--finetune", "no"), "Evaluating", "OUT"),
    "site validate": (("painted/site.yaml",), "Looking at headers", ""),
    "site prepare": (("painted/site.yaml",), "Scans", "painted/store-quality"),
    "site qc": (("site.yaml",), "Drawing the quality page", "stores/a-quality"),
    "site check": (("site.yaml",), "Reading the store", ""),
    "site dry-run": (("site.yaml",), "Asking the site", ""),
    "site embed": ((*SITE, "--out", "OUT/e.npz"), "Embedding", "state"),
    "site evaluate": (("site.yaml", *TASK, "--out", "OUT"), "Evaluating", "OUT"),
    "site probe": ((*SITE, *TASK, "--out", "OUT"), "Evaluating", "OUT"),
    "site finetune": (
        (*SITE, "--task", "task.yaml", "--settings", "steps.yaml", "--out", "OUT/model"),
        "Fine-tuning", "state",
    ),
    "site interpret": (
        ("site.yaml", "--model", "finetuned", "--task", "task.yaml", "--out", "OUT"),
        "Looking into the model", "OUT",
    ),
}  # fmt: skip


class Once:
    """An event for which half a minute is waited in vain, once."""

    def __init__(self) -> None:
        self.told = False

    def wait(self, seconds: float) -> bool:
        self.told, before = True, self.told
        return before

    def set(self) -> None:
        assert self.told


class AtOnce:
    """A thread that does all it has to do when it starts."""

    def __init__(self, target: Callable[[], None], daemon: bool) -> None:
        assert daemon
        self.start = target

    def join(self) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = write_workplace(tmp_path_factory.mktemp("workplace"))
    (folder / "scenario.yaml").write_text(SCENARIO)
    (folder / "steps.yaml").write_text("steps: 2\n")
    return folder


SLOW = ("simulate", "site prepare")


@pytest.mark.parametrize(
    "words", [pytest.param(w, marks=pytest.mark.slow) if w in SLOW else w for w in LONG]
)
def test_a_batch_log_gets_lines_and_a_log_is_kept(made, tmp_path, monkeypatch, words):
    monkeypatch.chdir(made)
    monkeypatch.setattr(waiting_module, "threading", SimpleNamespace(Event=Once, Thread=AtOnce))
    given, what, place = LONG[words]
    out = tmp_path / "out"
    out.mkdir()
    arguments = [word.replace("OUT", str(out)) for word in given]
    result = CliRunner().invoke(command(), [*words.split(), *arguments], prog_name="brainjepa")
    assert result.exit_code == 0, result.output
    line = re.compile(rf"{re.escape(what)}.*: .*\d+ min \d\d s so far")
    assert any(line.match(shown) for shown in unstyle(result.stdout).splitlines()), result.stdout
    logs = {path for path in (*made.rglob(LOG), *out.rglob(LOG))}
    if place:
        log = Path(place.replace("OUT", str(out))).absolute() / LOG
        text = log.read_text()
        assert f" INFO brainjepa {words}" in text
        assert len(set(line.findall(text))) == len(line.findall(text)) > 0  # none twice
        assert log in logs
    assert not [path for path in logs if (path.parent / HEADER).exists()]  # in no store
    assert not [path for path in logs if path.parent.name in ("series", "fmriprep", ARRAYS)]


def test_a_log_names_nobody_but_with_verbose(made, monkeypatch):
    monkeypatch.chdir(made)
    painted, store = made / "painted", made / "painted" / "again"
    people = [path.name for path in (painted / "fmriprep").glob("sub-*")]
    (painted / "fewer.tsv").write_text("participant_id\tage\nsomebody\t3\n")
    site = (painted / "site.yaml").read_text().replace("store: store", "store: again")
    (painted / "again.yaml").write_text(f"{site}  phenotypes: [fewer.tsv]\n")
    words = ["site", "prepare", "painted/again.yaml", "--participant-label", *people[:1]]
    result = CliRunner().invoke(command(), words)
    assert result.exit_code == 0 and "have no row of phenotypes, such as '0" in result.stdout
    log = store.with_name("again-quality") / LOG
    assert "again.yaml --participant-label (brainjepa" in log.read_text()
    assert not any(person.removeprefix("sub-") in log.read_text() for person in people)
    assert CliRunner().invoke(command(), [*words[:3], "--verbose"]).exit_code == 0
    assert f"DEBUG {people[1]}" in log.read_text()
