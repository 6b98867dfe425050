"""A site whose people are noise, and the arrays of a message that asks it for an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from parts.made_stores import many_people

from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.pretraining.settings import PretrainingSettings


def made_site(folder: Path, people: int, rois: int) -> SiteSettings:
    """A site with scans of six minutes, of which fifty differ."""
    atlas = Atlas.from_names([f"Net{i % 7}_{i}" for i in range(rois)], "bench")
    store = many_people(folder / "store", atlas, people, different=50, frames=180, tr=2.0)
    return SiteSettings(name="bench", store=store.path, state=folder / "state")


def weights_and_components(study: PretrainingSettings, rois: int) -> dict[str, NDArray]:
    """Weights of a new model of the study, and components of connectivity."""
    rng = np.random.default_rng(1)
    basis = rng.standard_normal((rois, study.basis.components)).astype(np.float32)
    model = study.model_family.new(study.model_settings(rois), basis, seed=0)
    components = connectivity_components(np.corrcoef(rng.standard_normal((rois, 99))))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return {**weights, "components": components}
