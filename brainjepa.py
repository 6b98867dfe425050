"""The ``brainjepa`` command; ``python -m brainjepa`` is the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


@functools.cache
def command() -> typer.Typer:
    """The whole command line: a group for each room, and a researcher's own commands."""
    import typer

    import brainjepa_client.cli
    import brainjepa_server.cli
    from brainjepa_simulations.commands import evaluate, fetch, local, paint, simulate

    app = typer.Typer(
        help="Hospitals pretrain one Brain-JEPA together; scans stay where they are.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    app.command("import")(local.import_scans)
    app.command("import-folder")(local.import_folder)
    app.command()(local.pretrain)
    app.command()(local.measure)
    app.add_typer(brainjepa_client.cli.app)
    app.add_typer(brainjepa_server.cli.app)
    app.command()(simulate.simulate)
    app.command()(simulate.demo)
    app.command()(paint.paint)
    app.add_typer(fetch.app)
    app.command()(evaluate.evaluate)
    app.command("evaluate-sites")(evaluate.evaluate_sites)
    return app


def main() -> None:
    """Run the command line."""
    command()(prog_name="brainjepa")


if __name__ == "__main__":
    main()
