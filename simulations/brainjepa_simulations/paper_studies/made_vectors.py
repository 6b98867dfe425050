"""Made-up vectors of another modality for made-up people: noisy readings of their traits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.vectors import import_vectors

MADE_UP = "made-up"  # name of the modality
NOISE = 1.5  # standard deviations beside one of a trait
COPIES = 4  # readings of each trait


def make_vectors(store: ScanStore, table: Path) -> None:
    """Give a store of made-up people vectors that tell a little of every trait.

    Parameters
    ----------
    store : ScanStore
        With ``latent_1`` ... among the phenotypes of its scans.
    table : Path
        Written on the way to the store.
    """
    people = {record.subject: record.phenotypes for record in store.records}
    traits = sorted(
        {name for told in people.values() for name in told if name.startswith("latent")}
    )
    columns = [f"{name}_{copy}" for name in traits for copy in range(COPIES)]
    lines = ["\t".join(["participant_id", *columns])]
    for subject, told in sorted(people.items()):
        noise = np.random.default_rng([*subject.encode()]).normal(0, NOISE, len(columns))
        values = np.repeat([told[name] for name in traits], COPIES) + noise
        lines.append("\t".join([subject, *(f"{value:.6f}" for value in values)]))
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    import_vectors(store, MADE_UP, table)
    table.unlink()
