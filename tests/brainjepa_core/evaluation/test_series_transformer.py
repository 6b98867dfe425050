"""The transformer of series as scikit-learn asks of one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from small_models import ROIS, TR, made_series, small_model

from brainjepa_core.evaluation.series_transformer import SeriesEmbedding


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    small_model(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return SeriesEmbedding(folder, tr=TR).fit(made_series()).embedder_


def test_rows_are_the_embeddings_of_scans_of_any_length(model):
    scans = [*made_series(2), *made_series(1, frames=70, seed=2)]
    found = SeriesEmbedding(model, tr=TR).fit_transform(scans)
    assert_allclose(found, model.embed(scans, TR), atol=1e-6)
    stacked = np.stack(made_series(3))
    assert np.array_equal(
        SeriesEmbedding(model, tr=TR).fit(stacked).transform(stacked),
        SeriesEmbedding(model, tr=TR).fit_transform(list(stacked)),
    )


def test_names_of_features(folder, model):
    made = SeriesEmbedding(folder, tr=TR, pool=("mean", "std")).fit(made_series())
    names = made.get_feature_names_out()
    assert names.tolist() == [f"{p}_{i}" for p in ("mean", "std") for i in range(8)]
    assert made.n_features_out_ == 16 == made.transform(made_series(2)).shape[1]
    second = SeriesEmbedding(model, tr=TR).fit(made_series())
    assert len(second.get_feature_names_out()) == second.transform(made_series(1)).shape[1]


def test_it_can_be_cloned_searched_and_put_in_a_pipeline(model):
    scans, labels = made_series(12), np.arange(12) % 2
    pipeline = make_pipeline(SeriesEmbedding(model, tr=TR), StandardScaler(), LogisticRegression())
    assert clone(pipeline).fit(scans, labels).predict(scans).shape == (12,)
    assert cross_val_score(pipeline, scans, labels, cv=2).shape == (2,)
    search = GridSearchCV(
        make_pipeline(SeriesEmbedding(model, tr=TR), Ridge()),
        {"seriesembedding__pool": ["mean", "std"]},
        cv=2,
    ).fit(scans, labels.astype(float))
    assert search.best_params_["seriesembedding__pool"] in ("mean", "std")


def test_output_as_a_table(model):
    table = SeriesEmbedding(model, tr=TR, pool="mean").set_output(transform="pandas")
    found = table.fit_transform(made_series(3))
    assert list(found.columns) == [f"mean_{i}" for i in range(8)] and len(found) == 3


def test_before_fit_and_with_other_scans(folder, model):
    for call in ("transform", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(SeriesEmbedding(folder), call)(made_series())
    with pytest.raises(ValueError, match=rf"series 1: expected .{ROIS} ROIs"):
        SeriesEmbedding(model).fit([np.zeros((3, 40))])


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_mixin_order",
        "check_estimator_cloneable",
    ],
)
def test_scikit_learns_checks_that_feed_no_tables(model, check):
    getattr(estimator_checks, check)("SeriesEmbedding", SeriesEmbedding(model, tr=TR))


def test_scikit_learns_generator_knows_that_tables_are_no_series(model):
    for estimator, check in estimator_checks.estimator_checks_generator(SeriesEmbedding(model)):
        check(estimator)
