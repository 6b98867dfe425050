"""
A scan as a vector
==================

Pretrain a small model on arrays, load it again, and embed a scan: as one vector, and as the tokens
that the model sees.
"""

from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from made_series import NETWORKS, SETTINGS, TR, made_series

import brainjepa

# %%
# A run is a folder; ``load`` finds the model in it.

series, _ = made_series(24)

with tempfile.TemporaryDirectory() as folder:
    brainjepa.pretrain(series, f"{folder}/run", SETTINGS, tr=TR)
    model = brainjepa.load(f"{folder}/run")

vector = model.embed(series[0], tr=TR)
tokens = model.tokens(series[0], tr=TR)
print(f"one scan as a vector of {len(vector)} numbers, and as tokens {tokens.shape}")

# %%
# The vector is Fisher z of each pair of ROIs as the model sees them: latent connectivity. Pairs
# come row by row below the diagonal. The six networks of the made data are blocks along it.

rois = len(model.rois)
matrix = np.zeros((rois, rois))
matrix[np.tril_indices(rois, -1)] = vector
matrix += matrix.T
alike = NETWORKS[:, None] == NETWORKS
print(f"within networks {matrix[alike].mean():.2f}, between them {matrix[~alike].mean():.2f}")
plt.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
plt.colorbar(label="Fisher z of latent connectivity")
plt.xlabel("ROI")
plt.ylabel("ROI")
plt.show()

# %%
# A scan of another scanner and length, whose rows come in another order and lack an ROI.

other, names = made_series(1, seed=9)[0][0][::-1][1:, :90], list(model.rois)[::-1][1:]
print(f"another: {model.embed(other, tr=0.8, rois=names).shape}")
