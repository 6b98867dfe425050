from __future__ import annotations

import math
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from brainjepa_core.evaluation.report import result_figures as figures
from brainjepa_core.evaluation.report.result_figures import forest, groups, metric_label
from brainjepa_core.evaluation.scores.results import Row


def row(model: str, metric: str = "auc", mean: float = 0.7, group: str = "") -> Row:
    return Row(model, "dx", "sites", metric, mean, 0.1, mean - 0.1, mean + 0.1, 60, group)


def drawn(figure: Figure) -> np.ndarray:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=60, format="png")
    return imread(BytesIO(buffer.getvalue()))


def texts(figure: Figure) -> list[str]:
    ax = figure.axes[0]
    return [t.get_text() for t in [*ax.get_yticklabels(), *ax.texts, *figure.legends[0].texts]]


def test_every_model_has_its_dot_and_interval():
    rows = [row(model, metric) for model in ("FC", "probe", "MAE") for metric in ("auc", "f1")]
    figure = forest(rows, ["auc", "f1"], "FC", ["probe"], {"auc": 0.5})
    for ax, lines in zip(figure.axes, (2 + 6, 1 + 6), strict=True):  # reference, chance
        assert len(ax.lines) == lines
    assert texts(figure) == [
        *("FC", "probe", "MAE", "pretrained model in question"),
        *("functional connectivity, with its interval", "other models", "knowing nothing"),
    ]
    assert drawn(figure).std() > 0.02  # not a blank page


def test_an_undefined_figure_is_told_instead_of_hidden():
    figure = forest([row("FC"), row("constant", mean=math.nan)], ["auc"], "FC")
    assert "undefined" in texts(figure) and "constant" in texts(figure)
    drawn(figure)


def test_groups_with_too_few_people_are_told():
    rows = [row(m, group=f"sex={s}", mean=0.6) for m in ("FC", "probe") for s in "FM"]
    rows += [row(m, group="age=60 or more", mean=math.nan) for m in ("FC", "probe")]
    figure = groups(rows, "auc", ["FC", "probe"], "FC")
    assert texts(figure) == [
        *("sex: F  (n = 60)", "sex: M  (n = 60)", "age: 60 or more  (n = 60)"),
        *("too few people", "FC", "probe"),
    ]
    assert drawn(figure).std() > 0.02


def test_no_groups_are_told():
    with pytest.raises(ValueError, match="expected rows of f1 of groups, found none"):
        groups([row("FC", group="sex=F")], "f1", ["FC"], None)


def test_names_are_neither_mathematics_nor_longer_than_the_page():
    figure = forest([row("$x$\n" + "m" * 80)], ["auc"])
    assert len(texts(figure)[0]) <= figures.LONGEST_NAME
    drawn(figure)


def test_a_unit_stands_beside_every_number_that_has_one():
    rows = [replace(row(model, "mae"), unit="years") for model in ("FC", "probe")]
    assert forest(rows, ["mae"], "FC").axes[0].get_xlabel() == "MAE (years)\nbetter ←"
    of_groups = [replace(each, group="sex=F") for each in rows]
    assert groups(of_groups, "mae", ["FC"], "FC").axes[0].get_xlabel() == "MAE (years)"
    assert metric_label("mae within site", "years") == "MAE within site (years)"
    assert metric_label("r") == "Pearson r"


def test_labels():
    assert metric_label("r within site") == "Pearson r within site"
    assert metric_label("balanced accuracy") == "balanced accuracy"


def test_names_of_one_model_stay_apart():
    rows = [f"{'a long name ' * 6}: latent log-connectivity{end}" for end in ("", ", site-centred")]
    plain, centred = (figures.short_name(row) for row in rows)
    assert len(plain) == len(centred) == figures.LONGEST_NAME
    assert plain.endswith("log-connectivity") and centred.endswith(", site-centred")
    longest = "connectivity 0.01-0.1 Hz + log-connectivity, site-centred"
    assert figures.short_name(longest) == longest
