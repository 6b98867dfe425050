"""The bundle of a study: the same bytes from everybody, and nothing in it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk, build_fab_from_files
from flwr.cli.config_utils import get_fab_metadata

from brainjepa_core.wire import envelope
from brainjepa_core.wire.envelope import ENVELOPE_HASH, envelope_files


def test_its_hash_is_that_of_the_bundle_that_flower_builds():
    bundle, _ = build_fab_from_files(envelope_files())
    assert hashlib.sha256(bundle).hexdigest() == ENVELOPE_HASH
    assert get_fab_metadata(bundle) == ("brainjepa/brainjepa-envelope", "1.0.0")


def test_the_same_from_its_folder_in_an_installed_package():
    folder = Path(envelope.__file__).parent
    assert hashlib.sha256(build_fab_from_disk(folder)).hexdigest() == ENVELOPE_HASH


@pytest.mark.parametrize("name", sorted(envelope_files()))
def test_any_other_byte_is_another_hash(name):
    files = envelope_files()
    bundle, _ = build_fab_from_files({**files, name: files[name] + b"\nother = 1\n"})
    assert hashlib.sha256(bundle).hexdigest() != ENVELOPE_HASH


def test_it_holds_no_code_of_ours_and_no_setting():
    bundle, _ = build_fab_from_files(envelope_files())
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.namelist() == ["pyproject.toml", "nothing.py", ".info/CONTENT"]
        assert b"import" not in archive.read("nothing.py")
