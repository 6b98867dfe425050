"""What a site holds and what would leave it, as ``brainjepa site check`` shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainjepa_client.consent.audit_log import people_removed
from brainjepa_client.settings import SiteSettings
from brainjepa_core.problems import counted, size_in_words
from brainjepa_core.signals.storing.scan_arrays import ARRAYS, VOLUMES, files_of
from brainjepa_core.signals.storing.store import ScanStore


def cost(store: ScanStore) -> str:
    """What it takes to hold each scan against its checksum, in a line before it is done."""
    files = {path for record in store.records for path in files_of(store.path, record)}
    series, volumes = (
        sum(path.stat().st_size for path in files if path.parent.name == name and path.exists())
        for name in (ARRAYS, VOLUMES)
    )
    of_volumes = f" and {size_in_words(volumes)} of volumes" if volumes else ""
    return (
        f"{counted(len(store.records), 'scan')} to hold against checksums: "
        f"{size_in_words(series)} of series{of_volumes} to read"
    )


def holdings(
    settings: SiteSettings, store: ScanStore, looked_at: Callable[[], object]
) -> dict[str, str]:
    """The store, read whole, and what the site itself decides; a line each, by its name.

    `looked_at` is called after each scan.
    """
    records, policy = store.records, settings.policy
    people, damaged = len({record.subject for record in records}), len(store.verify(looked_at))
    trs = ", ".join(f"{tr:g}" for tr in sorted({record.tr for record in records}))
    return {
        "store": str(settings.store),
        "atlas": f"{counted(len(store.atlas), 'ROI')} of '{store.atlas.name}'",
        "people": f"{people}, told as {policy.rounded(people)}",
        "scans": f"{len(records)}, repetition times of {trs or 'no'} s",
        "damaged scans": f"{damaged}"
        + (": restore the store, or prepare it again" if damaged else ""),
        "scans that lack ROIs": str(sum(bool(record.missing) for record in records)),
        "people removed": str(len(people_removed(settings.state))),
        "state and log": str(settings.state),
        "device": settings.device,
        "training": ", ".join(settings.trainer.trains_on),
        "people needed": f"{policy.min_subjects} outside a study's held-out fold"
        + ("" if people >= policy.min_subjects else ": the site will refuse"),
        "steps a round": f"at most {policy.max_steps_per_round}",
        "a study at most": f"width {policy.max_width}, depth {policy.max_depth}, windows of "
        f"{policy.max_frames} frames, steps of {policy.max_batch_size} people with "
        f"{policy.max_masks_per_sample} masks each",
    }


def leaving(settings: SiteSettings, store: ScanStore) -> list[dict[str, str]]:
    """What each kind of message would send, and whether the policy allows it."""
    policy = settings.policy
    pairs = len(store.atlas) * (len(store.atlas) - 1) // 2
    least = f"each over at least {counted(policy.min_people_in_sum, 'person', 'people')}"
    leaves = {
        "describe": "this site's name, versions, atlas name, ROI names, fingerprints of atlas and "
        "store, device; people and scans rounded down to multiples of "
        f"{policy.round_counts_to}",
        "gradients": "sums of correlations and numbers of people for "
        f"{counted(pairs, 'pair')} of ROIs, {least}, and in studies that ask for it (coskewness) "
        "sums of products of third moments likewise; rounded number of people",
        "train": "weights of the model after the round; number of scans or people, rounded "
        "likewise, losses, seconds, signs of collapse",
        "evaluate": f"sums and products of embeddings, connectivity scores, ages and traits, "
        f"{least}; number of people, angle to the consensus gradients, signs of collapse",
    }
    if policy.privacy_budget is not None:
        leaves = {
            "describe": leaves["describe"],
            "gradients": "nothing: no budget counts it",
            "train": "weights of the model after a round of private steps, in studies under "
            "protect: dp alone",
            "evaluate": "nothing: no budget counts it",
        }
    return [
        {"message": kind, "allowed": "yes" if kind in policy.allow else "no", "what leaves": text}
        for kind, text in leaves.items()
    ]


def show_check(
    console: Console,
    settings: SiteSettings,
    held: Mapping[str, str],
    leaves: Sequence[Mapping[str, str]],
) -> None:
    """Print both as tables."""
    table = Table(title=escape(settings.name), show_header=False)
    for name, value in held.items():
        table.add_row(name, escape(value))
    console.print(table)
    table = Table(*leaves[0], title="What would leave")
    for row in leaves:
        table.add_row(*row.values())
    console.print(table)
    console.print("Subject ids, paths, dates and scans never leave; nor do texts of errors.")
