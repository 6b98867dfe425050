"""Training state on disk: one folder a saved step, complete or absent, never half.

A state folder is a model folder (`brainjepa_core.models.checkpoint`) plus the optimiser's moments
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

from brainjepa_core.files import atomic_folder, clear_leftovers
from brainjepa_core.models.checkpoint import Provenance, read_model, write_model_files
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.problems import plainly

OPTIMIZER, TRAINING = "optimizer.safetensors", "training.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW keeps of a parameter
FORMAT = 2  # raised when going on from a state would give other bits
KEPT = 2  # the newest state, and one to fall back on


class _OtherFormat(ValueError):
    """A state of another version."""


def _numbered(training: Training) -> dict[int, str]:
    """Names of the trained parameters by their number in the optimiser's own state."""
    names = {p: name for name, p in training.model.named_parameters()}
    groups = training.optimizer.param_groups
    return dict(enumerate(names[p] for group in groups for p in group["params"]))


def optimizer_arrays(training: Training) -> dict[str, torch.Tensor]:
    """AdamW's moments and counts by parameter name: ``exp_avg.encoder.patch.weight`` ...

    Of moments that are shared out among processes, once they are brought together
    (`Training.prepare_to_save`), and at the first process.
    """
    found = training.optimizer.state_dict()["state"]
    return {
        f"{moment}.{name}": value.detach().cpu().contiguous()
        for number, name in _numbered(training).items()
        for moment, value in found.get(number, {}).items()
    }


def load_optimizer_arrays(training: Training, arrays: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_arrays` gave.

    Raises
    ------
    ValueError
        If an array is missing, unknown or has another shape than its parameter. Nothing has
        changed then.
    """
    numbered, parameters = _numbered(training), dict(training.model.named_parameters())
    shapes = {
        f"{moment}.{name}": [] if moment == "step" else list(parameters[name].shape)
        for name in numbered.values()
        for moment in MOMENTS
    }
    found = {key: list(value.shape) for key, value in arrays.items()}
    wrong = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))
    if arrays and wrong:  # before the first step there are none
        raise ValueError(
            f"expected optimiser moments of this model's {len(numbered)} parameters, found "
            f"{len(wrong)} arrays missing, unknown or of another shape ({', '.join(wrong[:3])}); "
            "continue with the model settings of the saved run"
        )
    state = {
        number: {moment: arrays[f"{moment}.{name}"].clone() for moment in MOMENTS}
        for number, name in numbered.items()
        if arrays
    }
    groups, first = [], 0
    for group in training.optimizer.param_groups:
        last = first + len(group["params"])
        groups.append({**group, "params": list(range(first, last))})
        first = last
    training.optimizer.load_state_dict({"state": state, "param_groups": groups})


def state_folders(run: str | Path) -> list[Path]:
    """Complete states of a run, oldest first."""
    complete = (p for p in Path(run).glob("states/step-*") if (p / TRAINING).is_file())
    steps = {p.name.removeprefix("step-"): p for p in complete}
    return [steps[step] for step in sorted(filter(str.isdecimal, steps), key=int)]


def write_state(run: str | Path, training: Training, provenance: Provenance) -> Path:
    """Save the state under ``RUN/states/step-<number>`` and drop all but the newest two."""
    path = Path(run) / "states" / f"step-{training.step:08d}"
    if path.exists():
        return path  # the same step of the same run holds the same bits
    clear_leftovers(path.parent)
    with atomic_folder(path) as folder:
        write_model_files(folder, training.model, provenance)
        save_file(optimizer_arrays(training), folder / OPTIMIZER)
        settings = training.settings.model_dump()
        facts = {"format": FORMAT, "step": training.step, "settings": settings}
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
        fields, step = facts["settings"], int(facts["step"])
        if facts.get("format", 1) != FORMAT:
            raise _OtherFormat(
                f"expected a training state of format {FORMAT}, found one of format "
                f"{facts.get('format', 1)}, which draws the people of a step by another rule; go "
                "on with the version that began the run, or start a new run folder"
            )
        saved = TrainingSettings(**fields)
        arrays = load_file(path / OPTIMIZER)
        if step and not arrays and saved.optimizer == "adamw":
            raise KeyError("moments")
    except _OtherFormat:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"expected a training state with {TRAINING} and {OPTIMIZER}, found "
            f"{plainly(error)}; remove '{path.name}' to continue from the state before it"
        ) from error
    if saved != training.settings:
        raise ValueError(
            f"expected the recipe {_difference(training.settings, saved)}; schedules are functions "
            "of it: continue with the saved settings, or start a new run folder"
        )
    load_optimizer_arrays(training, arrays)
    training.model.load_state_dict(model.state_dict())
    training.resume(step)


def _difference(ours: object, saved: object) -> str:
    """The first differing field of two settings, as ``field = a, found b in the state``."""
    a, b = ours.model_dump(), saved.model_dump()  # type: ignore[attr-defined]
    name = next(k for k in a if a[k] != b.get(k))
    return f"{name} = {a[name]}, found {b.get(name)} in the state"
