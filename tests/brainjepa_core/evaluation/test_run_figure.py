from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.run_figure import _yardstick, draw_run
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    total = ConnectivitySum([f"LH_Vis_{i}" if i % 2 else f"LH_Default_{i}" for i in range(24)])
    for _ in range(4):
        total.add_scan(rng.standard_normal((24, 80)) + rng.standard_normal(80))
    ConsensusBasis.from_sum(total, n_components=4, sparsity=0.5).save(tmp_path / "basis.npz")
    signs = {"position_share": 0.5, "rank_tokens": 9.0}
    lines = [{"step": i, "loss": 1 / (i + 1), **(signs if i % 5 == 4 else {})} for i in range(50)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        {"model": model, "pool": pool, "outcome": "latents", "r2": 0.3, "features": 4}
        for model in ("pretrained", "random weights")
        for pool in ("mean", "std")
    ]
    (tmp_path / "yardstick.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_run_becomes_a_picture(run):
    atlas = Atlas.from_names(ConsensusBasis.load(run / "basis.npz").rois)
    picture = imread(draw_run(run, atlas))
    assert picture.shape[0] > 500 and picture.std() > 0.02  # not a blank page
    assert [p.name for p in run.iterdir() if p.name.endswith(".tmp")] == []


def test_every_outcome_is_drawn(run):
    """Also those that random weights tell better."""
    rows = [
        {"model": model, "pool": pool, "outcome": outcome, "r2": r2, "features": 4}
        for model, pool, r2 in (
            ("pretrained", HEADLINE, 0.3),
            ("pretrained", "mean", 0.9),
            ("random weights", HEADLINE, 0.4),
            ("connectivity", "networks", 0.5),
        )
        for outcome in ("connectivity", "latents", "age within site")
        if (model, outcome) != ("connectivity", "connectivity")
    ]
    ax = Figure().subplots()
    _yardstick(ax, rows)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["connectivity", "latents", "age within site"]
    widths = [round(bar.get_width(), 6) for bar in ax.patches]
    assert widths == [0.3] * 3 + [0.4] * 3 + [0.5] * 2
    assert HEADLINE in ax.get_title()


def test_networks_and_metrics_may_be_missing(run):
    (run / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    assert draw_run(run).exists()
