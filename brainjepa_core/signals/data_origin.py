"""What windows are made from, as digests: what is computed of them is tied to it."""

from __future__ import annotations

from brainjepa_core.origin import digest
from brainjepa_core.signals.storing.scan_table import content_of
from brainjepa_core.signals.windows import Windows


def data_origin(windows: Windows) -> dict[str, str]:
    """Digests of ROIs, people and scans, for `brainjepa_core.origin`.

    People count by name and in order of their stores, since draws and folds depend on both; their
    phenotypes do not enter.
    """
    atlas = windows.atlas
    people = [[person.store, person.records[0].subject] for person in windows.people]
    scans = [[content_of(r) for r in person.records] for person in windows.people]
    return {
        "ROIs": digest([atlas.rois, atlas.networks]),
        "people": digest(people),
        "scans": digest(scans),
    }
