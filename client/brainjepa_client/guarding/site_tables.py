"""What a site holds and what would leave it, as ``brainjepa site check`` shows them."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from brainjepa_client.consent.audit_log import people_removed
from brainjepa_client.settings import SiteSettings
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.store import ScanStore


def holdings_table(settings: SiteSettings, store: ScanStore) -> Table:
    """The store, read whole, and what the site itself decides."""
    records, policy = store.records, settings.policy
    people, damaged = len({record.subject for record in records}), len(store.verify())
    table = Table(title=escape(settings.name), show_header=False)
    trs = ", ".join(f"{tr:g}" for tr in sorted({record.tr for record in records}))
    rows = {
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
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def messages_table(settings: SiteSettings, store: ScanStore) -> Table:
    """What each kind of message would send, and whether the policy allows it."""
    policy = settings.policy
    pairs = len(store.atlas) * (len(store.atlas) - 1) // 2
    least = f"each over at least {counted(policy.min_people_in_sum, 'person', 'people')}"
    leaves = {
        "describe": "this site's name, versions, atlas name, ROI names, fingerprints of atlas and "
        "store, device; people and scans rounded down to multiples of "
        f"{policy.round_counts_to}",
        "gradients": "sums of correlations and numbers of people for "
        f"{counted(pairs, 'pair')} of ROIs, {least}; exact number of people",
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
    table = Table(title="What would leave")
    for heading in ("message", "allowed", "what leaves"):
        table.add_column(heading)
    for kind, text in leaves.items():
        table.add_row(kind, "yes" if kind in policy.allow else "no", text)
    return table
