"""The bundle that a study sends, since Flower asks for one: an envelope with no letter in it.

Coordinator and sites run the package that each has installed. A site compares a bundle's hash with
`ENVELOPE_HASH`, and answers to no other; nobody unpacks it. The hash changes with no release of
this package unless one of the two files beside this one does, and then sites need that release.
"""

from __future__ import annotations

from pathlib import Path

# SHA-256 of the bundle that Flower builds of `envelope_files`.
ENVELOPE_HASH = "835866667257ff39c52d2e444da272f9d172d66f8963a9b2213a3c83f8d1843f"
_NAMES = ("pyproject.toml", "nothing.py")


def envelope_files() -> dict[str, bytes]:
    """What the bundle holds, by name."""
    folder = Path(__file__).parent
    return {name: (folder / name).read_bytes() for name in _NAMES}
