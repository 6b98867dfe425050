"""A site's several devices train a round together: one process' bits, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from child_process import environment
from small_sites import ask_round, make_site, make_study, rounds_on_disk

from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.computing import together
from brainjepa_client.computing.exchange import open_exchanges
from brainjepa_client.computing.stopping import STOPPED, stopping_when
from brainjepa_client.computing.together import FOLDER
from brainjepa_client.settings import SiteSettings

PATIENCE = 200.0  # seconds, on a busy machine
STUDY = make_study(accumulation=2)
ENDLESS = make_study(accumulation=2, schedule={"total_steps": 10**6})
AGAIN = "the state of the round before is kept: ask again, or ask its manager to look at its log"


@pytest.fixture(autouse=True)
def found_by_children(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])


def site_with(store: Path, state: Path, **more) -> Site:
    policy = {"max_steps_per_round": 10**6}
    settings = make_site(store, state, **policy).settings.model_dump(exclude={"device", "devices"})
    choices = {"devices": ["cpu", "cpu"], "threads": 1, **more}
    return Site(SiteSettings.model_validate({**settings, **choices}))


def numbers(reply) -> dict:
    return {name: value for name, value in reply.metrics.items() if name != "seconds"}


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def none_left(state: Path) -> bool:
    """No process was started with a folder of this state."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(state).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                return False
        except OSError:
            continue
    return True


@pytest.mark.slow
def test_a_study_has_the_bits_of_one_process_whichever_has_trained_before(stores, start, tmp_path):
    torch.set_num_threads(1)
    one = site_with(stores[0], tmp_path / "one", devices=[], device="cpu")
    two = site_with(stores[0], tmp_path / "two")
    mixed = site_with(stores[0], tmp_path / "mixed", shard_optimizer=True)
    arrays = {"one": start, "two": start, "mixed": start}
    for number in range(2):
        found = {}
        for name, site in (("one", one), ("two", two), ("mixed", mixed)):
            reply = site.answer(ask_round(number, arrays[name], STUDY))
            assert not reply.refusal, (site.settings.state / LOG).read_text()
            found[name] = reply
            arrays[name] = {**arrays[name], **reply.arrays}
        for name in ("two", "mixed"):
            assert found[name].arrays.keys() == found["one"].arrays.keys()
            for key, value in found["one"].arrays.items():
                assert np.array_equal(found[name].arrays[key], value), key
            assert numbers(found[name]) == numbers(found["one"])
        for name in rounds_on_disk(one.settings.state):
            for file in (one.settings.state / "small" / name).iterdir():
                for other in (two, mixed):
                    path = other.settings.state / "small" / name / file.name
                    assert path.read_bytes() == file.read_bytes(), path
        # The next round goes on from what another number of processes has left.
        mixed = site_with(stores[0], tmp_path / "mixed", devices=[], device="cpu")
    for folder in (tmp_path / "two" / FOLDER).iterdir():
        assert [path.name for path in folder.iterdir()] == ["job.log"]
        assert (folder / "job.log").read_text().count("train of study 'small'") == 2
        assert (folder / "job.log").read_text().count("answered") == 1
    assert none_left(tmp_path)
