"""After any changes at a site, embeddings written to one file are those of a new site.

Embeddings of people are kept in the site's state by what they depend on: nothing stale is taken.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from small_sites import STUDY

from brainjepa_client.settings import SiteSettings
from brainjepa_client.using.site_evaluation import write_embeddings
from brainjepa_core.atlas import Atlas
from brainjepa_core.models.checkpoint import write_model
from brainjepa_core.pretraining.settings import provenance
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows

ATLAS = Atlas.from_names([f"roi{i}" for i in range(8)])
PEOPLE = "abcd"
CHOICES = {
    **{person: st.sampled_from([0, 1, None]) for person in PEOPLE},  # scan, corrected, withdrawn
    "age": st.integers(20, 22),
    "model": st.integers(0, 1),
    "scaling": st.sampled_from(["zscore", "pooled"]),
}
World = tuple[tuple[str, object], ...]


def series(person: str, version: int) -> np.ndarray:
    rng = np.random.default_rng([PEOPLE.index(person), version])
    return rng.standard_normal((8, 3)) @ rng.standard_normal((3, 40)) + rng.standard_normal((8, 40))


@cache
def models() -> Path:
    """Folders of models, which differ in weights and in how windows are scaled."""
    folder = Path(tempfile.mkdtemp(prefix="models-"))
    store = ScanStore.create(folder / "store", ATLAS)
    for person in PEOPLE:
        store.append(series(person, 0), subject=person, tr=2.0)
    for seed in (0, 1):
        for scaling in ("zscore", "pooled"):
            windows = STUDY.windows.model_copy(update={"scaling": scaling})
            training = STUDY.training.model_copy(update={"seed": seed})
            study = STUDY.model_copy(update={"windows": windows, "training": training})
            opened = Windows([store], windows)
            basis = consensus_basis(opened, 3, 0.2)
            told = provenance(opened, basis)
            write_model(folder / f"{seed}-{scaling}", study.new_model(basis), told)
    return folder


def embed(folder: Path, state: Path, out: Path, world: World) -> dict[str, np.ndarray]:
    """Embed the people of the world as it is now; the store is made anew."""
    facts = dict(world)
    shutil.rmtree(folder / "store", ignore_errors=True)
    store = ScanStore.create(folder / "store", ATLAS)
    for person in PEOPLE:
        if facts[person] is not None:
            phenotypes = {"age": facts["age"]}
            store.append(
                series(person, facts[person]), subject=person, tr=2.0, phenotypes=phenotypes
            )
    site = SiteSettings(name="site", store=folder / "store", state=state)
    write_embeddings(site, models() / f"{facts['model']}-{facts['scaling']}", out)
    with np.load(out, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@cache
def fresh(world: World) -> dict[str, np.ndarray]:
    """Of a new site."""
    with tempfile.TemporaryDirectory() as folder:
        return embed(Path(folder), Path(folder) / "state", Path(folder) / "out.npz", world)


class Embeddings(RuleBasedStateMachine):
    """One site, its state and one file; a world that changes around them."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.world = {**dict.fromkeys(PEOPLE, 0), "age": 20, "model": 0, "scaling": "zscore"}

    @rule(data=st.data(), name=st.sampled_from(sorted(CHOICES)))
    def change(self, data: st.DataObject, name: str) -> None:
        before = self.world[name]
        self.world[name] = data.draw(CHOICES[name])
        if all(self.world[person] is None for person in PEOPLE):
            self.world[name] = before

    @rule()
    def embed(self) -> None:
        now = tuple(self.world.items())
        found = embed(self.folder, self.folder / "state", self.folder / "mine.npz", now)
        expected = fresh(now)
        assert found.keys() == expected.keys()
        for name, array in found.items():
            assert np.array_equal(array, expected[name]), name

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


Embeddings.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestEmbeddings = Embeddings.TestCase


class ManyChanges(Embeddings):
    """The same over some two hundred changes of one site."""


ManyChanges.TestCase.settings = settings(max_examples=3, stateful_step_count=200, deadline=None)
TestManyChanges = pytest.mark.slow(ManyChanges.TestCase)
