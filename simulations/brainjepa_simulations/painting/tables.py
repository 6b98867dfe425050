"""Tables of a painted dataset: what it is, who takes part, and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from brainjepa_simulations.cohort.cohort import SiteCohort
from brainjepa_simulations.cohort.traits import ANCESTRIES

_DESCRIPTION = {
    "Name": "Painted scans of a synthetic site",
    "BIDSVersion": "1.9.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "fMRIPrep", "Version": "painted", "Description": "made-up scans"}],
}
_COLUMNS: dict[str, dict[str, object]] = {
    "age": {"Description": "Age at the scan", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {
        "Description": "Clinical group",
        "Levels": {"case": "has the made-up disease", "control": "has not"},
    },
    "ancestry": {
        "Description": "Made-up ancestry",
        "Levels": {name: f"ancestry {name}" for name in ANCESTRIES},
    },
}


def write_tables(dataset: Path, site: SiteCohort) -> None:
    """Write ``dataset_description.json``, ``participants`` and ``phenotype/traits``.

    Together the two tables hold what `cohort.stores.write_cohort` puts into a store.
    """
    (dataset / "phenotype").mkdir(parents=True)
    (dataset / "dataset_description.json").write_text(json.dumps(_DESCRIPTION, indent=1) + "\n")
    people = {person.name: person for person in site.subjects}
    _write_table(
        dataset / "participants.tsv",
        {name: (p.age, p.sex, p.diagnosis, p.ancestry) for name, p in people.items()},
        _COLUMNS,
    )
    _write_table(
        dataset / "phenotype" / "traits.tsv",
        {name: tuple(person.latents.tolist()) for name, person in people.items()},
        {
            f"latent_{i}": {"Description": "A trait that connectivity carries", "Units": "SD"}
            for i in range(1, site.latents.shape[1] + 1)
        },
    )


def _write_table(
    path: Path,
    rows: Mapping[str, tuple[object, ...]],
    columns: Mapping[str, Mapping[str, object]],
) -> None:
    """One row a participant, and a JSON that says what the columns mean."""
    lines = ["\t".join(["participant_id", *columns])]
    lines += ["\t".join([name, *map(str, cells)]) for name, cells in rows.items()]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(columns, indent=1) + "\n", encoding="utf-8")
