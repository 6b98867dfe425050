"""
The regions of the brain
========================

The shipped atlas has names, networks and places of its 450 regions. Rows of a series are known by
these names, in whatever order they come.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from nilearn import plotting

import brainjepa

atlas = brainjepa.load_atlas()
print(f"{len(atlas.rois)} regions of '{atlas.name}': {atlas.rois[0]}, ..., {atlas.rois[-1]}")

# %%
# Each region at its centre, coloured by its network.

networks = sorted(set(atlas.networks))
plotting.plot_markers(
    [networks.index(network) for network in atlas.networks],
    np.array(atlas.centroids),
    node_cmap="tab20",
    node_size=15,
    display_mode="lzr",
    colorbar=False,
)
plt.show()
