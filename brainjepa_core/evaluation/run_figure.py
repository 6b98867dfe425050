"""A run in one picture: the basis, the loss, the signs of collapse, and what can be read out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.measure import HEADLINE, NETWORKS
from brainjepa_core.files import atomic_path, read_json
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pages.palette import BLUE, GREEN, GREY, ORANGE, PALE, VERMILLION, styles
from brainjepa_core.pretraining.loop import RunLog

MODELS = {"pretrained": BLUE, "random weights": PALE, "connectivity": ORANGE}


def draw_run(run: str | Path, atlas: Atlas | None = None) -> Path:
    """Draw RUN/run.png from the files of a finished and measured run.

    Parameters
    ----------
    run : path
        Holds ``basis.npz``, ``metrics.jsonl`` and ``yardstick.json``.
    atlas : Atlas, optional
        Its networks colour the ROIs.

    Returns
    -------
    Path
    """
    run = Path(run)
    lines = RunLog.lines(run)
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    _basis(axes[0, 0], ConsensusBasis.load(run / "basis.npz"), atlas)
    _loss(axes[0, 1], lines)
    _collapse(axes[1, 0], [line for line in lines if "position_share" in line])
    _yardstick(axes[1, 1], read_json(run / "yardstick.json"))
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    path = run / "run.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path


def _basis(ax: Axes, basis: ConsensusBasis, atlas: Atlas | None) -> None:
    first, second = basis.gradients[:, 0], basis.gradients[:, min(1, basis.gradients.shape[1] - 1)]
    if atlas is not None and atlas.has_networks:
        index = atlas.network_index
        names = {int(i): roi_network for i, roi_network in zip(index, atlas.networks, strict=True)}
        for (i, name), style in zip(sorted(names.items()), styles(len(names)), strict=True):
            chosen = index == i
            ax.scatter(first[chosen], second[chosen], s=18, **style._asdict(), label=name)
        if len(names) <= 10:
            ax.legend(fontsize=7, frameon=False)
    else:
        ax.scatter(first, second, s=18, color=BLUE)
    ax.set(title="Where ROIs are: consensus gradients", xlabel="gradient 1", ylabel="gradient 2")


def _loss(ax: Axes, lines: list[dict[str, Any]]) -> None:
    steps, loss = [line["step"] for line in lines], np.array([line["loss"] for line in lines])
    ax.plot(steps, loss, color=PALE, linewidth=0.8)
    width = max(1, len(loss) // 40)
    smooth = np.convolve(loss, np.ones(width) / width, "valid")
    ax.plot(steps[width - 1 :], smooth, color=BLUE)
    ax.set(title="Loss (says little by itself)", xlabel="optimiser step", ylim=(0, None))


def _collapse(ax: Axes, lines: list[dict[str, Any]]) -> None:
    steps = [line["step"] for line in lines]
    share = [line["position_share"] for line in lines]
    rank = [line["rank_tokens"] for line in lines]
    ax.plot(steps, share, color=VERMILLION, label="share of position")
    ax.set(title="Signs of collapse", xlabel="optimiser step", ylim=(0, 1.02))
    ax.set_ylabel("variance explained by position", color=VERMILLION)
    right = ax.twinx()
    right.plot(steps, rank, color=GREEN)
    right.set_ylabel("effective rank of a person's tokens", color=GREEN)
    right.set_ylim(0, None)
    right.spines["top"].set_visible(False)


def _yardstick(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """Every outcome, from the pool that models are compared by (plain connectivity has its own)."""
    outcomes = list(dict.fromkeys(row["outcome"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    pool = HEADLINE if any(row["pool"] == HEADLINE for row in rows) else rows[0]["pool"]
    rows = [row for row in rows if row["pool"] in (pool, NETWORKS)]
    height = 0.8 / len(models)
    for i, model in enumerate(models):
        found = {row["outcome"]: row["r2"] for row in rows if row["model"] == model}
        places = [outcomes.index(outcome) + i * height for outcome in found]
        ax.barh(
            places, list(found.values()), height * 0.9, label=model, color=MODELS.get(model, GREY)
        )
    ax.set_yticks([i + 0.4 - height / 2 for i in range(len(outcomes))], outcomes)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.axvline(0, color="k", linewidth=0.6)
    ax.set(title=f"What a ridge probe reads of {pool}", xlabel="R2 of held-out people")
    ax.legend(fontsize=8, frameon=False)
