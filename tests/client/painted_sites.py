"""A small painted site and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

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
