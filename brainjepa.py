"""The ``brainjepa`` command; ``python -m brainjepa`` is the same."""

from __future__ import annotations

import client.cli
import server.cli
from brainjepa_core.cli import app
from simulations.cli import demo, simulate
from simulations.evaluate_cli import evaluate, evaluate_sites
from simulations.painted_cli import paint

__all__ = ["app"]

app.add_typer(client.cli.app)
app.add_typer(server.cli.app)
app.command()(simulate)
app.command()(demo)
app.command()(paint)
app.command()(evaluate)
app.command("evaluate-sites")(evaluate_sites)

if __name__ == "__main__":
    app(prog_name="brainjepa")
