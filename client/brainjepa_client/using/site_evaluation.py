"""A site and one model: embeddings of its people, probes, its own fine-tuned model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from brainjepa_client.consent.results_made import note_results
from brainjepa_client.settings import SiteSettings
from brainjepa_core.arrays import load_arrays, save_arrays
from brainjepa_core.evaluation.comparison import EvaluationPlan, Say, compare_models
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.learning.finetune import Finetuned, FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_files import write_finetuned
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.scores.results import Results
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, Split, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.files import require_new
from brainjepa_core.models.checkpoint import model_digest, read_description, read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import SECOND_ORDER
from brainjepa_core.models.sources import model_folder, model_name
from brainjepa_core.pretraining.model_windows import read_windows
from brainjepa_core.signals.data_origin import data_origin
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.version import VERSION

EMBEDDED = (LATENT_CONNECTIVITY, "mean", "network_mean", *SECOND_ORDER)  # `write_embeddings` keeps

# Who says when fine-tuning stops: a fifth of all people.
STOPPING = ProtocolSettings(kind="holdout", seeds=1, train=0.6, validation=0.2)


def site_model(site: SiteSettings, checkpoint: Path) -> tuple[BrainModel, Windows]:
    """A model, and the site's windows made as the model's were.

    Raises
    ------
    ValueError
        If the model is of another atlas; names the first ROI that differs.
    """
    folder = model_folder(checkpoint)
    description = read_description(folder)
    told, store = description.provenance, ScanStore.open(site.store)
    windows = read_windows([description.settings], [store], WindowSettings(**told.signals))
    told.require_rois(windows.atlas.rois)
    return read_model(folder)[0].eval(), windows


def write_embeddings(
    site: SiteSettings,
    checkpoint: Path,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write one vector a person and pool: an npz with ``subject`` and an array of each pool.

    The file holds subject ids and stays at the site. ``origin`` in it says what it was made from
    (`brainjepa_core.origin`); such a file is made anew, another one is left alone.

    Raises
    ------
    ValueError
        If the model is of another atlas, or `out` is a file that holds something else.
    """
    _require_embeddings(out)
    note_results(site.state, "embeddings", out)
    model, windows = site_model(site, checkpoint)
    networks = networks_of(windows, model.basis.cpu().numpy())
    people = range(windows.subjects)
    found = cached_embeddings(
        model.to(site.device), windows, people, EMBEDDED, networks, site.state, progress
    )
    made_by = {"model": model_digest(model), "version": VERSION}
    origin = {**data_origin(windows), "windows": windows.describe(), **made_by}
    subjects = np.array([person.records[0].subject for person in windows.people])
    save_arrays(out, {"subject": subjects, "origin": np.array(json.dumps(origin)), **found})
    return out


def _require_embeddings(out: Path) -> None:
    """Refuse to replace what `write_embeddings` did not write."""
    if not out.exists():
        return
    try:
        ours = {"subject", "origin", *EMBEDDED} <= load_arrays(out).keys()
    except ValueError:
        ours = False
    if not ours:
        raise ValueError(
            f"expected a new file, or embeddings to make anew, found another file, '{out}'; give "
            "another --out"
        )


def compare_at_site(
    site: SiteSettings,
    checkpoint: Path | None,
    table: Callable[[dict[str, BrainModel]], EvaluationPlan],
    out: Path,
    say: Say,
    progress: Callable[[str], None],
) -> Results:
    """The table of `brainjepa_core.evaluation.comparison.compare_models` for the site's own people.

    Parameters
    ----------
    site : SiteSettings
    checkpoint : Path, optional
        Baselines alone without it.
    table : callable
        Makes the comparison from the models by name.
    out : Path
    say, progress : callable
    """
    note_results(site.state, "an evaluation", out)
    models = {}
    if checkpoint is None:
        windows = Windows([ScanStore.open(site.store)])
    else:
        model, windows = site_model(site, checkpoint)
        models[model_name(checkpoint)] = model
    plan = replace(table(models), device=site.device)
    return compare_models(plan, windows, out, say, progress)


def finetune_site(
    site: SiteSettings,
    checkpoint: Path,
    task: TaskSettings,
    settings: FinetuneSettings,
    out: Path,
) -> Finetuned:
    """Fine-tune on all of the site's people with the label, and keep the model in a new folder.

    A fifth of them says when to stop; none is held out, so nothing is said of how well it does:
    ``brainjepa site evaluate`` says that, on people that no model was fine-tuned on.

    Raises
    ------
    ValueError
        If the task cannot be learned from these people.
    FileExistsError
        If the folder exists; before anything is learned.
    """
    require_new(out)
    note_results(site.state, "a fine-tuned model", out)
    model, windows = site_model(site, checkpoint)
    data = task_data(task, windows)
    (first,) = splits = splits_of(STOPPING, data)
    plan = EvaluationPlan(task, STOPPING, {"model": model}, settings)
    origin = plan.origin(windows, data, splits)
    everybody = Split(
        "everybody", 0, np.sort(np.concatenate([first.train, first.test])), first.validation,
        first.test[:0],
    )  # fmt: skip
    method = FinetuneMethod(task.name, model, windows, settings, site.device)
    fitted = method.fit(data, everybody)
    write_finetuned(out, fitted, read_description(model_folder(checkpoint)).provenance, origin)
    return fitted
