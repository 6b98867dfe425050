"""Commands that say what would leave a site: ``site dry-run``, ``site check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from brainjepa_client.using.cli import SiteFile
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    Json,
    console,
    errors_in_one_line,
    file_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.machine.devices import require_device


def dry_run(
    site: SiteFile,
    settings: Annotated[
        Path | None,
        typer.Option(help="YAML of pretraining; defaults without.", dir_okay=False),
        ReadBy("brainjepa_core.pretraining.settings:PretrainingSettings"),
    ] = None,
    wire: Annotated[
        Literal["fp32", "bf16", "int8"], typer.Option(help="How weights travel.")
    ] = "fp32",
    contract: Annotated[
        Path | None,
        typer.Option(
            help="A contract's file: its study, wire and sums count instead.", dir_okay=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the table there, as TSV.", callback=file_to_write)
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="One line for all weights of a module.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Every array and number that each message would send, and the policy line that allows it."""
    from brainjepa_client.guarding.dry_run import dry_run
    from brainjepa_client.guarding.dry_run_table import (
        COLUMNS,
        print_dry_run,
        rows_as_told,
        write_dry_run,
    )
    from brainjepa_core.files import require_own_table
    from brainjepa_core.pretraining.settings import PretrainingSettings
    from brainjepa_core.settings import read_settings
    from brainjepa_core.wire.contract import contract_of_file

    with errors_in_one_line():
        chosen = None if settings is None else read_settings(settings, PretrainingSettings)
        asked = None if contract is None else contract_of_file(contract)
        if out is not None:
            require_own_table(out, COLUMNS)  # before any work
        with waiting(console, "Asking the site"):
            run = dry_run(site, chosen, wire, asked)
        if as_json:
            print_json(rows_as_told(run, summary=summary))
        else:
            print_dry_run(run, console, summary=summary)
        if out is not None:
            write_dry_run(run, out)


def check(site: SiteFile, as_json: Json = False) -> None:
    """What the store holds, whether it is intact, and what the policy says; changes nothing."""
    from brainjepa_client.guarding.site_tables import cost, holdings, leaving, show_check
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings
    from brainjepa_core.signals.storing.store import ScanStore

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        for device in settings.devices_here:
            require_device(device)
        store = ScanStore.open(settings.store)
        console.print(cost(store), highlight=False, soft_wrap=True)
        with waiting(console, "Reading the store", len(store.records)) as work:
            held = holdings(settings, store, work.advance)
        if as_json:
            print_json({"site": settings.name, "holds": held, "leaves": leaving(settings, store)})
        else:
            show_check(console, settings, held, leaving(settings, store))
