"""What a run says of itself beside its settings: where it comes from, and the data it read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

from brainjepa_core.version import VERSION, source_commit

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the view for training
LONGEST_DIGEST = 36  # that MLflow takes


@dataclass(frozen=True)
class Data:
    """Scans of one site or store that a run read.

    Attributes
    ----------
    name : str
    fingerprint : str
        SHA-256 of the scans; says nothing of them.
    people, scans : int or None
        As far as they may be told; None where they are not known.
    used_for : str
        Such as ``training``.
    """

    name: str
    fingerprint: str
    people: int | None = None
    scans: int | None = None
    used_for: str = "training"


def run_tags(description: str) -> dict[str, str]:
    """Tags that MLflow shows as description, source and version of a run; no person, no path."""
    tags = {
        "mlflow.note.content": description,
        "mlflow.source.name": _command(),
        "mlflow.source.type": "LOCAL",
        "brainjepa-federated": VERSION,
    }
    commit = source_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def dataset_inputs(data: Sequence[Data]) -> list[Any]:
    """Inputs of a run, as MLflow's entities."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(
                name=one.name,
                digest=one.fingerprint[:LONGEST_DIGEST],
                source_type="site",
                source=dumps({"site": one.name}),
                profile=dumps(
                    {"people": one.people, "scans": one.scans, "fingerprint": one.fingerprint}
                ),
            ),
            [InputTag("mlflow.data.context", one.used_for)],
        )
        for one in data
    ]


def _command() -> str:
    """The words of the command at work, without what it was given."""
    import click

    context = click.get_current_context(silent=True)
    return context.command_path if context is not None else "brainjepa"
