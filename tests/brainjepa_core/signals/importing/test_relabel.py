"""New phenotypes for scans that are in a store already, and what imports leave behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import brainjepa
from brainjepa_core.signals.importing.importers import import_directory
from brainjepa_core.signals.importing.made_from import IMPORTS, PREPARATION, read_imports
from brainjepa_core.signals.importing.relabel import relabel_imported
from brainjepa_core.signals.storing.store import ScanStore

ROIS = 3


def put(folder, name: str, seed: int = 0, frames: int = 20, scale: float = 1.0) -> None:
    values = np.random.default_rng(seed).standard_normal((frames, ROIS)) * scale
    np.save(folder / f"{name}.npy", values)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    (tmp_path / "series").mkdir()
    for number in range(3):
        put(tmp_path / "series", f"sub-0{number}", number)
    people(tmp_path, {"00": (20, "0.1"), "01": (30, "n/a")})
    return tmp_path


def people(folder, rows: dict) -> None:
    lines = [f"sub-{name}\t{age}\t{fd}" for name, (age, fd) in rows.items()]
    text = "\n".join(["participant_id\tage\tmean_fd", *lines]) + "\n"
    (folder / "participants.tsv").write_text(text)


def load(folder, say=lambda _: None) -> ScanStore:
    table = folder / "participants.tsv"
    names = folder / "names.txt"
    return import_directory(folder / "series", names, folder / "store", 2.0, table, say=say)


def content(store: ScanStore) -> dict:
    return {r.key: (r.sha256, r.phenotypes, r.qc) for r in store.records}


def test_new_tables_give_what_a_new_import_would(folder):
    store = load(folder)
    people(folder, {"00": (21, "n/a"), "2": (40, "0.3")})
    changed, notes = relabel_imported(store, [folder / "participants.tsv"])
    assert changed == 3 and notes == ["1 person has no row of phenotypes, such as '01'"]
    (folder / "store").rename(folder / "relabelled")
    assert content(ScanStore.open(folder / "relabelled")) == content(load(folder))
    table = [folder / "participants.tsv"]
    assert relabel_imported(ScanStore.open(folder / "relabelled"), table)[0] == 0


def test_the_command_counts_and_leaves_prepared_stores_to_prepare(folder):
    load(folder)
    people(folder, {"00": (20, "0.1"), "01": (31, "n/a")})
    words = ["relabel", str(folder / "store"), "--participants", str(folder / "participants.tsv")]
    result = CliRunner().invoke(brainjepa.command(), words)
    assert result.exit_code == 0
    assert "1 of 3 scans have other phenotypes now" in result.output
    (folder / "store" / PREPARATION).write_text("{}")
    result = CliRunner().invoke(brainjepa.command(), words)
    assert result.exit_code == 1
    expected = "name the tables in prepare.phenotypes and run that again"
    assert expected in " ".join(result.stderr.split())
    with pytest.raises(ValueError, match="expected a new folder, or a store that was imported, fo"):
        load(folder)


def test_a_scan_that_cannot_be_used_now_leaves_the_store(folder):
    load(folder)
    put(folder / "series", "sub-00", frames=2)
    told: list[str] = []
    assert {r.subject for r in load(folder, told.append).records} == {"sub-01", "sub-02"}
    assert any("sub-00.npy: expected at least 3 frames, found 2; check" in text for text in told)


def test_one_scan_of_several_that_is_gone_is_named(folder):
    put(folder / "series", "sub-00_ses-2_task-rest_timeseries", 7)
    load(folder)
    (folder / "series" / "sub-00_ses-2_task-rest_timeseries.npy").unlink()
    told: list[str] = []
    assert len(load(folder, told.append).records) == 4
    assert any(
        text.startswith(
            "1 scan of 1 person in the store not in what was imported, such as sub-00 2"
        )
        for text in told
    )


def test_a_second_writer_is_refused(folder):
    store = load(folder)
    with store.writing(), pytest.raises(BlockingIOError, match="alone in writing into the store"):
        load(folder)


def test_a_store_remembers_every_import_once(folder):
    load(folder)
    load(folder)
    assert len(read_imports(folder / "store")) == 1
    put(folder / "series", "sub-00", 11)
    load(folder)
    one, two = read_imports(folder / "store")
    assert one["scans"] != two["scans"] and one["participants"] == two["participants"]
    (folder / "store" / IMPORTS).write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r"the list of imports in imports.json of store '.*', fou"):
        load(folder)
