"""``brainjepa site check``: the store, what would leave, the policy; nothing is changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from click import unstyle
from made_volumes import of_people, volume_store
from small_sites import ask, make_site
from typer.testing import CliRunner

from brainjepa_client.cli import app
from brainjepa_client.guarding.site_tables import cost
from brainjepa_core.command.waiting import Work
from brainjepa_core.signals.storing.scan_arrays import VOLUMES
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore
from brainjepa_core.wire.messages import GRADIENTS


@pytest.fixture
def site_file(stores, tmp_path):
    def write(**content) -> Path:
        path = tmp_path / "site.yaml"
        places = {"name": "one", "store": str(stores[0]), "state": str(tmp_path / "state")}
        path.write_text(yaml.safe_dump({**places, **content}))
        return path

    return write


def check(path: Path, monkeypatch) -> str:
    monkeypatch.setattr("brainjepa_client.cli.console.width", 400)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0, result.output
    return unstyle(result.stdout)


def test_check(site_file, tmp_path, monkeypatch):
    shown = check(site_file(policy={"allow": ["describe", "gradients"]}), monkeypatch)
    assert "8 ROIs of 'synthetic networks'" in shown
    assert "12, told as 10" in shown
    assert "20 outside a study's held-out fold: the site will refuse" in shown
    lines = {line.split("│")[1].strip(): line for line in shown.splitlines() if "│" in line}
    assert "│ yes " in lines["describe"] and "│ yes " in lines["gradients"]
    assert "│ no " in lines["train"] and "│ no " in lines["evaluate"]
    assert "28 pairs of ROIs, each over at least 3 people" in lines["gradients"]
    assert not (tmp_path / "state").exists()


def test_check_speaks_as_the_site_acts(stores, site_file, tmp_path, monkeypatch):
    shown = check(site_file(policy={"min_subjects": 4}), monkeypatch)
    assert "will refuse" not in shown
    assert make_site(stores[0], tmp_path, min_subjects=4).answer(ask(GRADIENTS)).refusal == ""


def test_check_tells_of_damaged_scans(stores, site_file, tmp_path, monkeypatch):
    assert re.search(r"damaged scans *│ 0 ", check(site_file(), monkeypatch))
    store = shutil.copytree(stores[0], tmp_path / "copy")
    array = sorted((store / ARRAYS).iterdir())[0]
    array.write_bytes(array.read_bytes()[:-4] + b"\0\0\0\0")
    shown = check(site_file(store=str(store)), monkeypatch)
    assert re.search(r"damaged scans *│ 1: restore the store, or prepare it again ", shown)


def test_check_says_before_what_it_reads_and_then_how_far_it_is(stores, site_file, monkeypatch):
    scans, told = len(ScanStore.open(stores[0]).records), []
    monkeypatch.setattr(Work, "update", lambda work, *, done: told.append(work.line()))
    first, *_ = check(site_file(), monkeypatch).splitlines()
    text = rf"{scans} scans to hold against checksums: 0\.\d MB of series to read"
    assert re.fullmatch(text, first) and len(told) == scans > 5
    assert all(line.startswith(f"Reading the store: 0 of {scans}, ") for line in told)


def test_what_volumes_cost_is_told_and_one_that_is_gone_is_no_error(tmp_path):
    store = volume_store(tmp_path / "store", of_people(3, 200))
    files = sorted((store.path / VOLUMES).iterdir())
    size = sum(file.stat().st_size for file in files) / 1e6
    assert size > 0.5
    assert cost(store).endswith(f"0.0 MB of series and {size:.1f} MB of volumes to read")
    files[0].unlink()
    size -= files[1].stat().st_size / 1e6
    assert cost(store).endswith(f"0.0 MB of series and {size:.1f} MB of volumes to read")
    looked_at: list[int] = []
    assert len(store.verify(lambda: looked_at.append(1))) == 1 and len(looked_at) == 3


def test_errors_in_one_line(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({"name": "one", "store": str(tmp_path), "state": "x"}))
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    text = unstyle(result.stderr)
    assert text.startswith("Error: site.yaml line 3: store: expected the folder of a scan store")
    assert text.count("\n") == 1


def test_a_device_that_is_not_there(site_file):
    import torch

    if torch.cuda.is_available():
        pytest.skip("has one")
    result = CliRunner().invoke(app, ["check", str(site_file(device="cuda"))])
    assert result.exit_code == 1
    assert "expected a device of this machine, found 'cuda'" in unstyle(result.stderr)
