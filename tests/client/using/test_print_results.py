"""The table on the terminal: whole numbers with their units on 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from brainjepa_client.using import cli
from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.evaluation.scores.results import Results, Row

METRICS = ("mse", "mae", "standardised mse", "r", "r2")


def row(model: str, metric: str, mean: float) -> Row:
    unit = metric_unit(metric, "years")
    return Row(model, "age", "kfold", metric, mean, 0.1, mean - 0.1, mean + 0.1, 60, unit=unit)


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_and_units_are_there(monkeypatch, width):
    shown = io.StringIO()
    monkeypatch.setattr(cli, "console", Console(file=shown, width=width))
    models = ("FC partial correlation + logistic regression of everything", "demo: probe and FC")
    metrics = [*METRICS, *(f"{metric} within site" for metric in METRICS)]
    cli.print_results(Results(tuple(row(m, name, -0.25) for m in models for name in metrics)))
    text = shown.getvalue()
    assert "…" not in text and "..." not in text
    assert text.count("−0.250") == 2 * 3 and text.count("−0.350 to −0.150") == 2 * 3
    for heading in ("Pearson r within site", "Pearson r", "MAE (years)"):
        assert heading in text
    assert "other metrics are in results.tsv" in text and "standardised mse" in text
