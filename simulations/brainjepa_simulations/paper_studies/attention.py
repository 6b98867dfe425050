"""Attention between networks in two groups of people, by a pretrained model.

Shapes: n people, L blocks, G networks.
"""

from __future__ import annotations

import numpy as np

from brainjepa_core.evaluation.interpretation.attention import people_attention
from brainjepa_core.evaluation.interpretation.figures import draw_networks
from brainjepa_core.evaluation.interpretation.group_difference import compare_groups
from brainjepa_core.evaluation.interpretation.tables import ATTENTION_LABEL, network_names
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.problems import counted
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.paper_studies.found import Found

HEADINGS = ("block", "from", "to", "difference", "p", "q", "p family")
ALPHA = 0.05


def look(task: TaskSettings, model: BrainModel, windows: Windows, most: int) -> Found:
    """Where two groups differ in attention: a picture, and a row a block and pair of networks.

    Parameters
    ----------
    task : TaskSettings
        Of two classes.
    model : BrainModel
        With transformer blocks.
    windows : Windows
    most : int
        People looked at, spread evenly over those of the task.

    Raises
    ------
    ValueError
        If the task has not two classes, or the model has no blocks.
    """
    data = task_data(task, windows)
    if len(data.classes) != 2:
        raise ValueError(
            f"task '{task.name}': expected two classes, whose attention is compared, found "
            f"{len(data.classes)}; choose a task of two"
        )
    rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64))
    networks = networks_of(windows, model.basis.cpu().numpy())
    names = network_names(windows.atlas, networks)
    attention = people_attention(model, windows, data.people[rows].tolist(), networks)
    group = data.target[rows] == 1
    told = compare_groups(attention, group, data.sites[rows])
    first, second = data.classes
    figures = told.difference, told.p, told.q, told.p_family
    blocks = range(attention.shape[1])
    lines = [
        (str(block + 1), a, b, *(_number(v[block, i, j]) for v in figures))
        for block in blocks
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    last = blocks[-1]
    means = {f"{name}, last block": attention[group == which, last].mean(0)
             for name, which in ((first, False), (second, True))}  # fmt: skip
    title = f"{second} less {first}, last block"
    marked = {title: told.q[last] < ALPHA}
    pictures = {
        "Attention between networks": draw_networks(means, names, ATTENTION_LABEL, centre=1.0),
        f"{second} less {first} (dot: q < {ALPHA})": draw_networks(
            {title: told.difference[last]}, names, "difference in attention", marked=marked
        ),
    }
    apart = int((told.p_family < ALPHA).sum())
    return Found(
        pictures=pictures,
        table=(HEADINGS, *lines),
        notes=(
            f"{counted(len(rows), 'person', 'people')} looked at, {int(group.sum())} {second} and "
            f"{int((~group).sum())} {first}; labels change places within sites",
            f"{apart} of {counted(told.q.size, 'pair')} of networks and blocks differ after "
            f"correction for all of them (p < {ALPHA})",
        ),
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "n/a"
