"""After any changes of data, phenotypes, settings and model a table is a fresh one, or refused.

Pictures and MLflow are left out, and of all methods two are run, for the time they take.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_comparison import TASK, make_windows, plan

from brainjepa_core.evaluation import comparison
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings

CHOICES = {
    "scans": st.integers(0, 1),
    "mended": st.booleans(),
    "people": st.sampled_from([20, 24]),
    "corrected": st.sampled_from([0.0, 7.0]),
    "motion": st.sampled_from([0.1, 0.3]),
    "seeds": st.integers(1, 2),
    "covariates": st.sampled_from([(), ("mean_fd",)]),
    "model": st.integers(0, 1),
    "version": st.sampled_from(["1", "2"]),
    "unread": st.integers(0, 2),
}
TABLES = ("results.json", "subgroups.json", "predictions")
World = tuple[tuple[str, object], ...]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def tables(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name.startswith(TABLES)}


def evaluate(out: Path, world: World) -> None:
    """Judge in a folder as the world is now; its store is made anew."""
    facts = dict(world)
    with tempfile.TemporaryDirectory() as folder:
        windows = make_windows(
            Path(folder) / "site",
            people=facts["people"],
            seed=facts["scans"],
            mended=facts["mended"],
            unread=facts["unread"],
            corrected=facts["corrected"],
            motion=facts["motion"],
        )
        asked = plan(
            windows,
            facts["model"],
            task=TaskSettings.model_validate({**TASK, "covariates": facts["covariates"]}),
            protocol=ProtocolSettings(kind="holdout", seeds=facts["seeds"]),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparison, "VERSION", facts["version"])
            comparison.compare_models(asked, windows, out)


def decisive(world: World | None) -> dict[str, object]:
    """What the tables depend on: all but a column that no task reads."""
    return {name: value for name, value in world or () if name != "unread"}


@cache
def fresh(world: World) -> dict[str, bytes]:
    """Tables of a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        evaluate(Path(folder), world)
        return tables(Path(folder))


class Tables(RuleBasedStateMachine):
    """One folder, a world that changes under it, and kills."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.world = {
            "scans": 0, "mended": False, "people": 20, "corrected": 0.0, "motion": 0.1,
            "seeds": 1, "covariates": (), "model": 0, "version": "1", "unread": 0,
        }  # fmt: skip
        self.made_of: World | None = None

    @rule(data=st.data(), name=st.sampled_from(sorted(CHOICES)))
    def change(self, data: st.DataObject, name: str) -> None:
        self.world[name] = data.draw(CHOICES[name])

    @rule()
    def go_on(self) -> None:
        now, before = tuple(self.world.items()), contents(self.folder)
        try:
            evaluate(self.folder, now)
        except ValueError as error:
            assert "as the results in this folder were made from" in str(error)
            assert contents(self.folder) == before
            assert self.made_of is not None and decisive(self.made_of) != decisive(now)
        else:
            self.made_of = now

    @rule(data=st.data(), name=st.sampled_from(sorted(CHOICES)))
    def go_on_with_one_change(self, data: st.DataObject, name: str) -> None:
        """Of what the folder was made from, so that nothing else can be the reason to refuse."""
        self.world = dict(self.made_of or self.world.items())
        self.change(data, name)
        self.go_on()

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """Some predictions, and what is made of all of them, are not there yet."""
        for name in ("results.json", "subgroups.json"):
            (self.folder / name).unlink(missing_ok=True)
        for path in sorted((self.folder / "predictions").glob("*")):
            if data.draw(st.booleans()):
                path.unlink()

    @invariant()
    def what_is_there_is_that_of_a_fresh_folder(self) -> None:
        if self.made_of is not None:
            expected = fresh(self.made_of)
            found = tables(self.folder)
            assert found.items() <= expected.items()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


Tables.TestCase.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
TestTables = Tables.TestCase


class ManyChanges(Tables):
    """The same over some two hundred changes of one world."""


ManyChanges.TestCase.settings = settings(
    max_examples=3, stateful_step_count=200, deadline=None, suppress_health_check=list(HealthCheck)
)
TestManyChanges = pytest.mark.slow(ManyChanges.TestCase)


@pytest.fixture(scope="module", autouse=True)
def only_what_decides_the_tables():
    def two_methods(asked, windows, data, signals, cache, say):
        wanted = ("mean", comparison.connectivity_name(data))
        found = comparison.baseline_methods(windows, data, signals, cache, comparison.KINDS[:1])
        return [method for method in found if method.name in wanted]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "table_methods", two_methods)
        patch.setattr(comparison, "_write_pictures", lambda *_: None)
        patch.setattr(comparison, "log_evaluation", lambda *_, **__: None)
        yield
