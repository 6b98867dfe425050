"""What says in a site's state folder that it belongs to a consortium, or that it has left it."""

from __future__ import annotations

from pathlib import Path

from brainjepa_core.files import atomic_path

# A study's folder has no dot in its name: these never meet one.
KEY, KIT, LEFT = "site.key", "consortium.kit", "consortium.left"


def has_left(state: Path) -> bool:
    """Whether the site has withdrawn from the consortium whose kit is there."""
    return (state / LEFT).exists()


def leave(state: Path) -> None:
    """Mark the site as one that has left, until it joins anew."""
    with atomic_path(state / LEFT) as temporary:
        temporary.write_text("", encoding="utf-8")


def begin_anew(state: Path) -> None:
    """Before a site that has left joins again: its former, revoked key goes, and the mark."""
    (state / KEY).unlink(missing_ok=True)
    (state / LEFT).unlink(missing_ok=True)
