"""A small painted site and its settings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainjepa_client.preparing import scan as scan_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import PaintedTree, PaintSettings, write_tree

COHORT = CohortSettings(
    sites=1, subjects_per_site=4, rois=12, networks=5, frames=60, second_sessions=0.5
)


def painted(folder: Path, **settings: Any) -> PaintedTree:
    """Four people, six scans, a tree with its site.yaml (one process)."""
    tree = write_tree(folder, generate_site(COHORT, 0), PaintSettings(**settings))
    change(tree, processes=1)
    return tree


PREPARED: dict[str, PaintedTree] = {}


@contextmanager
def undrawn() -> Iterator[None]:
    """Empty files in the place of scans' pictures, most of the time of scans as small as these."""

    def leave_empty(path: Path, *_: Any, **__: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_module, "draw_scan", leave_empty)
        yield


def prepared(folder: Path, derivatives: str | None = None, **settings: Any) -> PaintedTree:
    """A painted site after ``site prepare``, once for all tests of these settings, undrawn."""
    key = repr((derivatives, settings))
    if key not in PREPARED:
        place = Path(tempfile.mkdtemp(prefix="prepared-", dir=folder.parents[1]))
        tree = painted(place / "site", **settings)
        if derivatives is not None:
            change(tree, derivatives=derivatives)
        with undrawn():
            list(Preparation.of(site_of(tree)).run())
        PREPARED[key] = tree
    tree = PREPARED[key]
    shutil.copytree(tree.folder, folder)
    scans = {
        name: replace(scan, stem=folder / scan.stem.relative_to(tree.folder))
        for name, scan in tree.scans.items()
    }
    return replace(tree, folder=folder, scans=scans)


def change(tree: PaintedTree, **changes: Any) -> None:
    """Change fields of ``prepare`` in the tree's site.yaml."""
    content = yaml.safe_load(tree.site.read_text())
    content["prepare"].update(changes)
    tree.site.write_text(yaml.safe_dump(content))


def site_of(tree: PaintedTree) -> SiteSettings:
    return read_settings(tree.site, SiteSettings)


def store_of(tree: PaintedTree) -> ScanStore:
    return ScanStore.open(tree.folder / "store")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
