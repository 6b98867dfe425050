"""Who is left out of a study on this machine: few lines that name nobody, before it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainjepa_core.atlas import Atlas
from brainjepa_core.command.command_log import logger
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.left_out import tell_left_out, told_already
from brainjepa_simulations.scenario import read_scenario


def store(path: Path, lengths: list[int]) -> ScanStore:
    made = ScanStore.create(path, Atlas.from_names([f"r{i}" for i in range(6)]))
    rng = np.random.default_rng(0)
    for person, frames in enumerate(lengths):
        made.append(rng.standard_normal((6, frames)), subject=f"sub-{person}", tr=2.0)
    return made


def test_all_sites_are_told_of_in_one_line(tmp_path, monkeypatch, caplog):
    demo = read_scenario("demo")
    lengths = {"a": [90] * 7, "b": [90] * 6 + [300], "c": [300]}
    stores = [store(tmp_path / name, frames) for name, frames in lengths.items()]
    named, said = [], []
    monkeypatch.setattr(logger, "debug", lambda text, *words: named.append(text % words))
    tell_left_out(demo, stores, said.append)
    assert said == [
        "left out, at 2 sites: 13 scans: expected two windows of 128 s apart from one another, as "
        "the model predicts one part of a person's scans from another, found 180 s in 1 usable "
        "scan of this person (each is in site-state/SITE/log.txt)"
    ]
    assert len(named) == 13 and named[0].startswith("left out: a/sub-0: expected two windows")
    with told_already():  # what the sites' own windows would repeat
        demo.study.pretraining.windows_of([stores[1]])
    assert caplog.text == ""


def test_where_nobody_is_left_out_nothing_is_said(tmp_path):
    said = []
    tell_left_out(read_scenario("demo"), [store(tmp_path / "a", [300])], said.append)
    assert said == []
