"""Training state on disk: one folder a saved step, complete or absent, never half.

A state folder is a model folder (`brainjepa_core.model.checkpoint`) plus the optimiser's moments
and the step. Nothing else is needed to go on bit for bit, since sampling, masks and schedules are
functions of the step.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainjepa_core.files import atomic_folder
from brainjepa_core.model.checkpoint import Provenance, read_model, write_model_files
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.training import Training

OPTIMIZER, TRAINING = "optimizer.safetensors", "training.json"
KEPT = 2  # the newest state, and one to fall back on


def _trained_names(training: Training) -> dict[torch.nn.Parameter, str]:
    return {p: name for name, p in training.model.named_parameters() if p.requires_grad}


def optimizer_arrays(training: Training) -> dict[str, torch.Tensor]:
    """AdamW's moments and counts by parameter name: ``exp_avg.encoder.patch.weight`` ..."""
    names = _trained_names(training)
    return {
        f"{moment}.{names[p]}": value.detach().cpu().contiguous()
        for p, state in training.optimizer.state.items()
        for moment, value in state.items()
    }


def load_optimizer_arrays(training: Training, arrays: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_arrays` gave.

    Raises
    ------
    ValueError
        If an array is unknown or has another shape than its parameter.
    """
    parameters = {name: p for p, name in _trained_names(training).items()}
    for key, value in arrays.items():
        moment, name = key.split(".", 1)
        parameter = parameters.get(name)
        if parameter is None or (moment != "step" and value.shape != parameter.shape):
            raise ValueError(
                f"expected optimiser moments of this model's parameters, found '{key}' of shape "
                f"{list(value.shape)}; continue with the model settings of the saved run"
            )
        training.optimizer.state[parameter][moment] = value.to(
            parameter.device if parameter.device.type == "cuda" else "cpu", copy=True
        )


def state_folders(run: str | Path) -> list[Path]:
    """Complete states of a run, oldest first."""
    return sorted(p for p in Path(run).glob("states/step-*") if (p / TRAINING).is_file())


def write_state(run: str | Path, training: Training, provenance: Provenance) -> Path:
    """Save the state under ``RUN/states/step-<number>`` and drop all but the newest two."""
    path = Path(run) / "states" / f"step-{training.step:08d}"
    if path.exists():
        return path  # the same step of the same run holds the same bits
    with atomic_folder(path) as folder:
        write_model_files(folder, training.model, provenance)
        save_file(optimizer_arrays(training), folder / OPTIMIZER)
        facts = {"step": training.step, "settings": training.settings.model_dump()}
        (folder / TRAINING).write_text(json.dumps(facts, indent=1) + "\n")
    for old in state_folders(run)[:-KEPT]:
        shutil.rmtree(old)
    return path


def read_state(path: str | Path, training: Training, provenance: Provenance) -> None:
    """Continue from a state: weights, target, optimiser and step are put into `training`.

    Raises
    ------
    ValueError
        If atlas, ROI order, basis, windows, model sizes or recipe differ, or files are damaged.
    """
    path = Path(path)
    model, found = read_model(path)
    provenance.require(found)
    if model.settings != training.model.settings:
        raise ValueError(
            f"expected model settings {_difference(training.model.settings, model.settings)}; "
            "continue with the settings of the saved run, or start a new run folder"
        )
    try:
        facts = json.loads((path / TRAINING).read_text())
        saved, step = PretrainingSettings(**facts["settings"]), int(facts["step"])
        arrays = load_file(path / OPTIMIZER)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"expected a training state with {TRAINING} and {OPTIMIZER}, found "
            f"{type(error).__name__}; continue from another folder of states/"
        ) from error
    if saved != training.settings:
        raise ValueError(
            f"expected the recipe {_difference(training.settings, saved)}; schedules are functions "
            "of it: continue with the saved settings, or start a new run folder"
        )
    load_optimizer_arrays(training, arrays)
    training.model.load_state_dict(model.state_dict())
    training.step = step


def _difference(ours: object, saved: object) -> str:
    """The first differing field of two settings, as ``field = a, found b in the state``."""
    a, b = ours.model_dump(), saved.model_dump()  # type: ignore[attr-defined]
    name = next(k for k in a if a[k] != b.get(k))
    return f"{name} = {a[name]}, found {b.get(name)} in the state"
