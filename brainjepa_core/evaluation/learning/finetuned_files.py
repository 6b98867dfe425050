"""A fine-tuned model as a folder that a site can keep: safetensors and what reads it, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainjepa_core.evaluation.learning.finetune import Finetuned
from brainjepa_core.evaluation.learning.finetuned_network import FinetunedNetwork
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead
from brainjepa_core.evaluation.readout.with_slopes import LogWithSlopes
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, LATENT_LOG
from brainjepa_core.files import atomic_folder
from brainjepa_core.models.checkpoint import Provenance
from brainjepa_core.models.registry import family_named
from brainjepa_core.origin import claim_folder
from brainjepa_core.problems import plainly

WEIGHTS, DESCRIPTION = "finetuned.safetensors", "finetuned.json"


def write_finetuned(
    path: str | Path, fitted: Finetuned, provenance: Provenance, origin: Mapping[str, Any]
) -> None:
    """Write a fine-tuned model's folder atomically; `path` must not exist yet.

    Parameters
    ----------
    path : path
    fitted : Finetuned
    provenance : Provenance
        Of the model that was fine-tuned.
    origin : mapping
        What it was made from (`brainjepa_core.origin`).
    """
    network = fitted.network
    with atomic_folder(path) as folder:
        claim_folder(folder, origin, ())
        arrays = network.state_dict()
        save_file({k: v.detach().cpu().contiguous() for k, v in arrays.items()}, folder / WEIGHTS)
        description = {
            "family": network.family.name,
            "settings": network.settings.model_dump(),
            "provenance": provenance.model_dump(),
            "task": fitted.task,
            "target": asdict(fitted.target),
            "steps": fitted.steps,
            "readouts": network.readouts,
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")


def read_finetuned(path: str | Path) -> tuple[Finetuned, Provenance]:
    """Read a folder of `write_finetuned`.

    Returns
    -------
    (Finetuned, Provenance)

    Raises
    ------
    ValueError
        If files are missing, damaged or do not fit one another.
    """
    try:
        description = json.loads((Path(path) / DESCRIPTION).read_text())
        arrays = load_file(Path(path) / WEIGHTS)
        network, target = _network(description, arrays), _target(description)
        fitted = Finetuned(network, target, description["task"], int(description["steps"]))
        return fitted, Provenance(**description["provenance"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"expected a fine-tuned model with {DESCRIPTION} and {WEIGHTS} that fit, found "
            f"{plainly(error)} in '{path}'; copy the folder again, or fine-tune anew"
        ) from error


def _network(description: dict[str, Any], arrays: dict[str, torch.Tensor]) -> FinetunedNetwork:
    family = family_named(description["family"])
    settings = family.settings(**description["settings"])
    model = family.undrawn(settings, torch.zeros(settings.rois, settings.components))
    groups, features = arrays["head.centre"].shape
    head = ReadOutHead(features, _target(description).outputs, groups)
    log = LogWithSlopes(arrays["log.consensus"], arrays["log.projection"])
    widths = {LATENT_CONNECTIVITY: settings.rois * (settings.rois - 1) // 2, LATENT_LOG: log.width}
    read = sum(widths[name] for name in description["readouts"])
    if features != read:  # as of a version that read connectivity in another way
        raise ValueError(f"a head of {features} features for read-outs of {read}")
    network = FinetunedNetwork(model, head, tuple(description["readouts"]), log)
    network.load_state_dict(arrays)
    return network.eval()


def _target(description: dict[str, Any]) -> LearnedTarget:
    found = description["target"]
    return LearnedTarget(
        tuple(found["classes"]), tuple(found["weights"]), float(found["mean"]), float(found["sd"])
    )
