"""
Gradients of connectivity
=========================

Positions of the model are gradients of connectivity: of one matrix, and the consensus of some
people, which a study freezes before it trains.
"""

from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from made_series import NETWORKS, TR, made_series

import brainjepa

series, _ = made_series(12)

# %%
# One person: the diffusion map of a correlation matrix.

found = brainjepa.diffusion_map(np.corrcoef(series[0]), n_components=5, sparsity=0.9)
print(f"one person's leading eigenvalues: {np.round(found.eigenvalues, 2)}")

# %%
# All of them: gradients of their mean connectivity.

with tempfile.TemporaryDirectory() as folder:
    store = brainjepa.create_store(folder, [f"ROI {i}" for i in range(len(NETWORKS))])
    for number, scan in enumerate(series):
        store.append(scan, subject=f"{number}", tr=TR)
    basis = brainjepa.consensus_basis(brainjepa.Windows([store]), components=5)

within = [basis.gradients[network == NETWORKS].std(0).mean() for network in range(6)]
print(f"basis {basis.hash[:12]} of {len(series)} people: {basis.gradients.shape}")
print(f"ROIs of a network lie {np.mean(within) / basis.gradients.std(0).mean():.0%} as far apart")

# %%

for network in range(6):
    x, y = basis.gradients[network == NETWORKS, :2].T
    plt.scatter(x, y, label=f"network {network + 1}")
plt.xlabel("gradient 1")
plt.ylabel("gradient 2")
plt.legend()
plt.show()
