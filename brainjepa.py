"""The ``brainjepa`` command; ``python -m brainjepa`` is the same."""

from __future__ import annotations

from brainjepa_core.cli import app
from simulations.cli import demo

__all__ = ["app"]

app.command()(demo)

if __name__ == "__main__":
    app(prog_name="brainjepa")
