"""``brainjepa paint``: scans for a researcher who has none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import console, errors_in_one_line, folder_to_write
from brainjepa_core.command.waiting import waiting
from brainjepa_core.problems import counted


def paint(
    out: Annotated[
        Path, typer.Option(help="Folder that gets one folder a site.", callback=folder_to_write)
    ],
    sites: Annotated[int, typer.Option(min=1, help="First so many sites of the scenario.")] = 1,
    subjects: Annotated[int | None, typer.Option(min=1, help="First so many people each.")] = None,
    scenario: Annotated[
        str,
        typer.Option(help="YAML, or a shipped scenario."),
        ReadBy("brainjepa_simulations.scenario:read_scenario"),
    ] = "demo",
) -> None:
    """Paint synthetic scans as an fMRIPrep derivative tree, to try a site's whole way."""
    from brainjepa_simulations.cohort.cohort import generate_site
    from brainjepa_simulations.painting.tree import write_tree
    from brainjepa_simulations.scenario import read_scenario

    with errors_in_one_line(
        "sites that are painted stay: remove them, and run the same command again"
    ):
        cohort = read_scenario(scenario).cohort
        if cohort is None or sites > cohort.sites:
            found = "a scenario of real data" if cohort is None else f"{cohort.sites} of them"
            raise ValueError(
                f"expected a scenario with {sites} synthetic sites, found {found}; choose another "
                "--scenario, or fewer --sites"
            )
        counts = [min(count, subjects or count) for count in cohort.subject_counts]
        cohort = type(cohort)(**{**cohort.model_dump(), "subjects_per_site": tuple(counts)})
        taken = [name for i in range(sites) if (out / (name := f"site-{i + 1:02d}")).exists()]
        if taken:
            raise ValueError(
                f"expected no {taken[0]} in the folder yet, found one; remove it, or paint into "
                "another folder"
            )
        keep_log(out)
        for index in range(sites):
            site = generate_site(cohort, index)
            with waiting(
                console, f"Painting {site.name} ({index + 1} of {counted(sites, 'site')})"
            ):
                tree = write_tree(out / site.name, site)
            console.print(
                f"{escape(str(tree.site))}: {counted(len(site.subjects), 'person', 'people')}, "
                f"{counted(len(tree.scans), 'scan')}, {counted(len(site.rois), 'ROI')}",
                soft_wrap=True,
            )
