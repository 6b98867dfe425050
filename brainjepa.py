"""The ``brainjepa`` command; ``python -m brainjepa`` is the same."""

from __future__ import annotations

from brainjepa_core.cli import app

__all__ = ["app"]

if __name__ == "__main__":
    app(prog_name="brainjepa")
