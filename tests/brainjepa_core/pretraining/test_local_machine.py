"""After any changes of data and settings a run is that of a fresh folder, or refused untouched."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_local import SETTINGS, contents, make_store, train

CHOICES = {
    "scans": st.integers(0, 1),
    "people": st.sampled_from(["stuv", "stuw", "stuvw"]),
    "tr": st.sampled_from([2.0, 1.0]),
    "age": st.integers(20, 22),
    "sparsity": st.sampled_from([0.2, 0.4]),
    "seed": st.integers(0, 1),
    "steps": st.integers(2, 3),
}
World = tuple[tuple[str, object], ...]


def pretrain(run: Path, world: World) -> None:
    """Train in a folder as the world is now; its store is made anew."""
    facts = dict(world)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(
            Path(folder) / "store", facts["scans"], facts["people"], facts["tr"], age=facts["age"]
        )
        training = {**SETTINGS["training"], "seed": facts["seed"]}
        training["schedule"] = {"total_steps": facts["steps"], "warmup_steps": 1}
        basis = {"components": 2, "sparsity": facts["sparsity"]}
        train(run, [store], training=training, basis=basis)


@cache
def fresh(world: World) -> dict[Path, bytes]:
    """What a new folder holds afterwards, by relative name."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"  # the model's card has the name of its run
        pretrain(run, world)
        return {path.relative_to(run): data for path, data in contents(run).items()}


class Runs(RuleBasedStateMachine):
    """One folder, a world that changes under it, and kills."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.run = self.folder / "run"
        self.world = {
            "scans": 0, "people": "stuv", "tr": 2.0, "age": 20, "sparsity": 0.2, "seed": 0,
            "steps": 2,
        }  # fmt: skip
        self.made_of: World | None = None

    def now(self) -> World:
        return tuple(self.world.items())

    @rule(data=st.data(), name=st.sampled_from(sorted(CHOICES)))
    def change(self, data: st.DataObject, name: str) -> None:
        self.world[name] = data.draw(CHOICES[name])

    @rule()
    def go_on(self) -> None:
        before = contents(self.folder)
        try:
            pretrain(self.run, self.now())
        except ValueError as error:
            assert "as the results in this folder were made from" in str(error)
            assert contents(self.folder) == before
            assert self.made_of is not None and decisive(self.made_of) != decisive(self.now())
        else:
            self.made_of = self.now()

    @rule()
    def kill_before_the_model(self) -> None:
        shutil.rmtree(self.run / "final", ignore_errors=True)

    @rule()
    def kill_before_the_states(self) -> None:
        for name in ("final", "states"):
            shutil.rmtree(self.run / name, ignore_errors=True)

    @rule()
    def kill_before_the_basis(self) -> None:
        self.kill_before_the_states()
        (self.run / "basis.npz").unlink(missing_ok=True)

    @invariant()
    def what_is_there_is_that_of_a_fresh_folder(self) -> None:
        if self.made_of is None:
            return
        expected = fresh(self.made_of)
        for path, data in contents(self.run).items():
            assert data == expected[path.relative_to(self.run)], path.name

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


def decisive(world: World) -> dict[str, object]:
    """What a run depends on: all but phenotypes."""
    return {name: value for name, value in world if name != "age"}


Runs.TestCase.settings = settings(max_examples=10, stateful_step_count=16, deadline=None)
TestRuns = Runs.TestCase


class ManyChanges(Runs):
    """The same over some two hundred changes of one world."""


ManyChanges.TestCase.settings = settings(max_examples=3, stateful_step_count=200, deadline=None)
TestManyChanges = pytest.mark.slow(ManyChanges.TestCase)
