from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from made_predictions import holdouts, predictions, sites_in_turn, task_data
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.metrics import recall_score

from brainjepa_core.evaluation.report.prediction_figures import truth_figure
from brainjepa_core.evaluation.scores.resampling import score_models


def drawn(figure: Figure) -> np.ndarray:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=60, format="png")
    return imread(BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("classes", [(), ("control", "autism"), ("CN", "MCI", "$AD")])
def test_every_kind_of_task_has_a_picture(classes):
    data = task_data(classes)
    splits = sites_in_turn(data)
    told = [predictions(name, data, splits, seed=i) for i, name in enumerate(("FC", "a", "b"))]
    figure = truth_figure(data, told, "FC")
    assert len(figure.axes) == (1 if len(classes) == 2 else 3)
    assert drawn(figure).std() > 0.02


def test_every_tested_person_is_a_point():
    data = task_data()
    told = predictions("probe", data, sites_in_turn(data))
    (ax,) = truth_figure(data, [told]).axes
    points = ax.collections[0].get_offsets()
    assert sorted(points[:, 0]) == sorted(data.target)
    assert sorted(points[:, 1]) == sorted(np.concatenate(told.values))


def test_models_share_axes_that_tell_their_unit():
    data = task_data()
    splits = sites_in_turn(data)
    told = [predictions(name, data, splits, seed=i) for i, name in enumerate(("FC", "wide"))]
    told[1].values[0] *= 3.0
    left, right = truth_figure(data, told, "FC").axes
    assert left.get_ylim() == right.get_ylim() and left.get_xlim() == right.get_xlim()
    assert (left.get_xlabel(), left.get_ylabel()) == ("true (years)", "predicted (years)")


def test_the_diagonal_of_a_confusion_matrix_is_recall():
    data = task_data(("CN", "MCI", "AD"))
    told = predictions("probe", data, sites_in_turn(data))
    (ax,) = truth_figure(data, [told]).axes
    truth = np.concatenate([data.target[split.test] for split in told.splits])
    recall = recall_score(truth, np.concatenate(told.values).argmax(1), average=None)
    assert np.diag(np.asarray(ax.images[0].get_array())) == pytest.approx(recall)


def test_the_legend_has_the_tables_auc():
    """Scores of other repetitions may lie elsewhere, so all of them pooled have another area."""
    data = task_data(("control", "autism"))
    told = predictions("FC", data, holdouts(data), knows=1.5)
    for number, values in enumerate(told.values):
        values[:, 1] += 3.0 * number
    expected = score_models(data, [told], draws=2)["FC"]["auc"].mean
    (text,) = truth_figure(data, [told]).legends[0].get_texts()
    assert text.get_text() == f"FC, AUC {expected:.2f}"
