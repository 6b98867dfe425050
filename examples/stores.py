"""
A scan store
============

What training reads: made, amended, pretrained from, and embedded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from made_series import ROIS, SETTINGS, TR, made_series
from sklearn.decomposition import PCA

import brainjepa

series, coupled = made_series(24)

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    store = brainjepa.create_store(folder / "store", [f"ROI {i}" for i in range(ROIS)])
    for number, scan in enumerate(series):
        facts = {"coupled": bool(coupled[number])}
        store.append(scan, subject=f"{number:03d}", tr=TR, phenotypes=facts)

    facts = {"coupled": bool(coupled[0])}
    store.append(series[0][:, :120], subject="000", session="2", tr=TR, phenotypes=facts)
    opened = brainjepa.open_store(folder / "store")
    print(f"{len(opened.records)} scans of {len({r.subject for r in opened.records})} people")

    model = brainjepa.pretrain([folder / "store"], folder / "run", SETTINGS)
    scans = [opened.series(record) for record in opened.records]
    vectors = model.embed(scans, tr=[record.tr for record in opened.records])
    print(f"their embeddings: {vectors.shape}")

# %%
# Phenotypes are part of the store; here they colour the first two components of the embeddings.

told = np.array([record.phenotypes["coupled"] for record in opened.records])
places = PCA(2).fit_transform(vectors)
for value, label in ((True, "networks 1 and 2 coupled"), (False, "not")):
    plt.scatter(*places[told == value].T, label=label)
plt.xlabel("component 1")
plt.ylabel("component 2")
plt.legend()
plt.show()
