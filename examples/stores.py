"""A scan store: made, amended, pretrained from, and embedded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from made_series import ROIS, SETTINGS, TR, made_series

import brainjepa

series, coupled = made_series(24)

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    store = brainjepa.create_store(folder / "store", [f"ROI {i}" for i in range(ROIS)])
    for number, scan in enumerate(series):
        facts = {"coupled": bool(coupled[number])}
        store.append(scan, subject=f"{number:03d}", tr=TR, phenotypes=facts)

    store.append(series[0][:, :120], subject="000", session="2", tr=TR)  # a second session
    opened = brainjepa.open_store(folder / "store")
    print(f"{len(opened.records)} scans of {len({r.subject for r in opened.records})} people")

    model = brainjepa.pretrain([folder / "store"], folder / "run", SETTINGS)
    scans = [opened.series(record) for record in opened.records]
    print(f"their embeddings: {model.embed(scans, tr=[r.tr for r in opened.records]).shape}")
