"""Where a site's fine-tuned model looks: attention between networks, attribution to regions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from brainjepa_client.consent.results_made import note_results
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.comparison import phenotypes_digest
from brainjepa_core.evaluation.interpretation.attention import people_attention
from brainjepa_core.evaluation.interpretation.attribution import attribute_people
from brainjepa_core.evaluation.interpretation.tables import WRITTEN, write_interpretation
from brainjepa_core.evaluation.learning.finetune import Finetuned
from brainjepa_core.evaluation.learning.finetuned_files import WEIGHTS, read_finetuned
from brainjepa_core.evaluation.learning.inputs import ScanInputs
from brainjepa_core.evaluation.learning.supervised import device_of
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import claim_folder
from brainjepa_core.problems import counted
from brainjepa_core.signals.data_origin import data_origin
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.version import VERSION


def interpret_site(
    site: SiteSettings,
    finetuned: Path,
    task: TaskSettings,
    out: Path,
    most: int,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write tables and pictures of what a fine-tuned model reads of the site's people.

    Means over people hold nobody's id, but few people's means are theirs: they stay at the site.

    Parameters
    ----------
    site : SiteSettings
    finetuned : Path
        Folder that ``brainjepa site finetune`` wrote.
    task : TaskSettings
        Whose classes are the groups; of a regression there are none.
    out : Path
    most : int
        People looked at, spread evenly over those of the task.
    say : callable

    Returns
    -------
    list of Path
        See `write_interpretation`.

    Raises
    ------
    ValueError
        If the model is of another atlas, the task has nobody here, or the folder holds tables of
        something else.
    """
    fitted, told = read_finetuned(finetuned)
    shape = fitted.network.settings
    if shape.volumes is not None:
        raise ValueError(
            "expected a model whose attention is between ROIs, found one that reads volumes; "
            "interpret a model of another family"
        )
    patch, store = shape.patch, ScanStore.open(site.store)
    windows = Windows([store], WindowSettings(**told.signals), patch=patch)
    told.require_rois(windows.atlas.rois)
    data = task_data(task, windows)
    claim_folder(out, _origin(windows, data, finetuned, most), WRITTEN)
    note_results(site.state, "an interpretation", out)
    rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64))
    people = data.people[rows].tolist()
    network = fitted.network.eval().to(site.device)
    networks = networks_of(windows, network.basis.cpu().numpy())
    say(f"attention of {counted(len(people), 'person', 'people')}")
    attention = people_attention(_backbone(fitted), windows, people, networks)

    def score(r: Tensor, known: Tensor) -> Tensor:
        """Of two classes the second's, of a regression the only one."""
        return network.of_connectivity(r, known)[:, -1]

    say("integrated gradients")
    scans = ScanInputs(windows, np.array(people), patch)
    read = [network.read_scans(scans, row) for row in range(len(people))]
    attribution = attribute_people(score, read, network.log.consensus)
    groups = None
    if data.classes:
        groups = np.array(data.classes)[data.target[rows].astype(np.int64)]
    return write_interpretation(
        out,
        windows.atlas,
        networks,
        attention=attention,
        attribution=attribution,
        unit=_unit(data),
        groups=groups,
    )


def _unit(data: TaskData) -> str:
    """Of the output that is attributed: a value is learned standardised, a class as a logit."""
    return f"logit of {data.classes[-1]}" if data.classes else f"SD of {data.task.column}"


def _origin(windows: Windows, data: TaskData, finetuned: Path, most: int) -> dict[str, Any]:
    """All that decides the tables, for `brainjepa_core.origin`."""
    return {
        **data_origin(windows),
        "windows": windows.describe(),
        "phenotypes": phenotypes_digest(data),
        "task": data.task.model_dump(mode="json"),
        "most people": most,
        "model": hashlib.sha256((finetuned / WEIGHTS).read_bytes()).hexdigest(),
        "version": VERSION,
    }


def _backbone(fitted: Finetuned) -> BrainModel:
    """The fine-tuned encoder as a model's target encoder, which attention is read from."""
    network = fitted.network
    model = network.family.undrawn(network.settings, network.basis.cpu())
    model.embedder.load_state_dict(network.encoder.state_dict())
    return model.eval().to(device_of(network))
