"""ROIs placed by an atlas's coordinates instead of the consensus's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.settings import BasisSettings, PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum

COORDINATES = BasisSettings.model_validate({"kind": "centroids"})
SHIPPED = load_atlas()


def sum_of(rois: tuple[str, ...]) -> ConnectivitySum:
    total = ConnectivitySum(rois)
    series = np.random.default_rng(0).standard_normal((len(rois), 60))
    total.add_subject([series], [np.zeros(len(rois), bool)])
    return total


def test_rois_of_the_shipped_atlas_are_placed_by_name():
    rois = (SHIPPED.rois[7], SHIPPED.rois[300], SHIPPED.rois[2])
    basis = basis_of_sum(sum_of(rois), COORDINATES)
    assert basis.rois == rois and np.isnan(basis.eigenvalues).all()
    assert np.array_equal(basis.gradients, [SHIPPED.centroids[i] for i in (7, 300, 2)])


def test_an_atlas_of_ones_own_tells_where_its_rois_are():
    places = ((1.0, 2.0, 3.0), (-4.0, 5.0, 6.0))
    atlas = Atlas("own", ("one", "two"), ("n/a",) * 2, ("n/a",) * 2, places)
    assert np.array_equal(
        basis_of_sum(sum_of(("one", "two")), COORDINATES, atlas).gradients, places
    )
    text = (
        r"whose places an atlas tells \(basis.kind: centroids\), found 2 of 2 without, such as 'o"
    )
    with pytest.raises(ValueError, match=text):
        basis_of_sum(sum_of(("one", "two")), COORDINATES)


def test_coordinates_are_three():
    assert COORDINATES.components == 3
    assert BasisSettings.model_validate(COORDINATES.model_dump()) == COORDINATES
    with pytest.raises(
        ValueError, match="expected no components with kind: centroids, which are 3"
    ):
        BasisSettings.model_validate({"kind": "centroids", "components": 30})


def test_positions_say_what_they_are_of():
    study = {"basis": {"kind": "centroids"}, "model": {"positions": "anatomical"}}
    assert PretrainingSettings.model_validate(study).model_settings(5).components == 3
    for wrong, text in (
        (
            {**study, "model": {}},
            "basis.kind: gradients with model.positions: gradient, found cent",
        ),
        ({"model": study["model"]}, "basis.kind: centroids with model.positions: anatomical, fo"),
    ):
        with pytest.raises(ValueError, match=text):
            PretrainingSettings.model_validate(wrong)
    lm = PretrainingSettings(family="brainlm", basis=COORDINATES)
    model = lm.new_model(basis_of_sum(sum_of(SHIPPED.rois[:5]), COORDINATES))
    assert torch.equal(model.basis, torch.tensor(SHIPPED.centroids[:5]))
    assert model.encoder.places.projection.in_features == 3
