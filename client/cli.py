"""Commands of a site's data manager."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from brainjepa_core.cli import console, errors_in_one_line, require_device

if TYPE_CHECKING:
    from brainjepa_core.signals.store import ScanStore
    from client.settings import SiteSettings

app = typer.Typer(
    name="site",
    help="A site's data manager: see what would leave, keep control.",
    no_args_is_help=True,
)


@app.callback()
def _main() -> None:
    """A site's data manager: see what would leave, keep control."""


@app.command()
def check(
    site: Annotated[Path, typer.Argument(help="YAML of the site.", exists=True, dir_okay=False)],
) -> None:
    """What the store holds, what would leave, what the policy allows; changes nothing."""
    from brainjepa_core.settings import read_settings
    from brainjepa_core.signals.store import ScanStore
    from client.settings import SiteSettings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        require_device(settings.device)
        store = ScanStore.open(settings.store)
        console.print(_holdings(settings, store))
        console.print(_messages(settings, store))
        console.print("Subject ids, paths, dates and scans never leave; nor do texts of errors.")


def _holdings(settings: SiteSettings, store: ScanStore) -> Table:
    records, policy = store.records, settings.policy
    people = len({record.subject for record in records})
    table = Table(title=escape(settings.name), show_header=False)
    trs = ", ".join(f"{tr:g}" for tr in sorted({record.tr for record in records}))
    rows = {
        "store": str(settings.store),
        "atlas": f"{store.atlas.name}, {len(store.atlas)} ROIs",
        "people": f"{people}, told as {people // policy.round_counts_to * policy.round_counts_to}",
        "scans": f"{len(records)}, repetition times of {trs or 'no'} s",
        "scans that lack ROIs": str(sum(bool(record.missing) for record in records)),
        "state and log": str(settings.state),
        "device": settings.device,
        "people needed": f"{policy.min_subjects} outside a study's held-out fold"
        + ("" if people >= policy.min_subjects else ": the site will refuse"),
        "steps a round": f"at most {policy.max_steps_per_round}",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _messages(settings: SiteSettings, store: ScanStore) -> Table:
    policy = settings.policy
    pairs = len(store.atlas) * (len(store.atlas) - 1) // 2
    least = f"each over at least {policy.min_people_in_sum} people"
    leaves = {
        "describe": "this site's name, versions, atlas name, ROI names, fingerprints of atlas and "
        "store, device; people, scans and frames rounded down to multiples of "
        f"{policy.round_counts_to}",
        "gradients": f"sums of correlations and numbers of people for {pairs} pairs of ROIs, "
        f"{least}; exact numbers of people, scans and frames",
        "train": "weights of the model after the round; number of scans or people, losses, "
        "seconds, signs of collapse",
        "evaluate": f"sums and products of embeddings, connectivity scores, ages and traits, "
        f"{least}; number of people, angle to the consensus gradients, signs of collapse",
    }
    table = Table(title="What would leave")
    for heading in ("message", "allowed", "what leaves"):
        table.add_column(heading)
    for kind, text in leaves.items():
        table.add_row(kind, "yes" if kind in policy.allow else "no", text)
    return table
