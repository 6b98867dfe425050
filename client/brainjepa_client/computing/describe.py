"""What a site says of itself: versions, atlas and rounded counts."""

from __future__ import annotations

import torch

from brainjepa_client.settings import SiteSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.version import VERSION
from brainjepa_core.wire.messages import WIRE_VERSION, Reply


def describe(settings: SiteSettings, store: ScanStore) -> Reply:
    """Reply to ``describe``: no arrays, counts rounded down as the policy says.

    Frames are not told: where all scans are of one length, they are the exact number of scans.
    """
    counts = {
        "subjects": len({record.subject for record in store.records}),
        "scans": len(store.records),
    }
    return Reply(
        {
            "wire_version": WIRE_VERSION,
            "site": settings.name,
            "code": VERSION,
            "torch": torch.__version__,
            "atlas": store.atlas.name,
            "atlas_fingerprint": store.atlas.fingerprint,
            "store_fingerprint": store.fingerprint,
            "rois": "\n".join(store.atlas.rois),
            "networks": len(set(store.atlas.networks)) if store.atlas.has_networks else 0,
            **{name: settings.policy.rounded(count) for name, count in counts.items()},
            "device": settings.device.split(":")[0],
            "threads": torch.get_num_threads(),
        }
    )
