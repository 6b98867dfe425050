"""What a site keeps of its people beside their scans: ``site import-vectors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainjepa_client.using.cli import SiteFile
from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.terminal import console, errors_in_one_line


def import_vectors(
    site: SiteFile,
    table: Annotated[
        Path,
        typer.Argument(
            help="Table with participant_id and numbers, a row a person.",
            exists=True,
            dir_okay=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the modality, such as t1, diffusion or clinical.")],
    missing: Annotated[
        list[str] | None, typer.Option(help="Code for missing in the table, such as -9999.")
    ] = None,
) -> None:
    """Keep vectors of another modality beside the scans, for late fusion in evaluations."""
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.problems import counted
    from brainjepa_core.settings import read_settings
    from brainjepa_core.signals.storing.store import ScanStore
    from brainjepa_core.signals.storing.vectors import import_vectors as keep

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        keep_log(settings.state)
        known, others = keep(ScanStore.open(settings.store), name, table, missing or ())
        console.print(
            f"vectors '{name}' of {counted(known, 'person', 'people')}; "
            f"{counted(others, 'row')} of people without a scan here"
        )
