"""A study on the coordinator's disk: one folder a round, complete or absent, never half."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from brainjepa_core.arrays import Arrays, Float32
from brainjepa_core.files import atomic_folder, clear_leftovers
from brainjepa_core.problems import plainly
from brainjepa_server.record.history import SUMMARY, RunHistory, read_history
from brainjepa_server.settings import StudySettings

WEIGHTS, OUTER, STATE = "weights.safetensors", "outer.safetensors", "state.json"
KEPT = 2  # the newest round, and one to fall back on; the best one is kept besides
# What may change between runs of a study: how long and how often, never what is computed.
FREE = (
    "rounds.quorum", "rounds.deadline", "rounds.joining_time", "rounds.evaluate_every",
    "rounds.keep_every", "rounds.retries",
    "sites",  # a site that joins late
    "start_from.model", "start_from.gradients",  # where it lies, not what it is
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RoundState:
    """All that the coordinator needs to go on after a round.

    Attributes
    ----------
    round : int
        Rounds completed, which is the number of the last one, from 1.
    weights : dict of str to ndarray of float32
        Global weights.
    outer : dict of str to ndarray
        State of the outer optimiser, or of the recipe's where the coordinator takes its steps.
    settings : StudySettings
    basis_hash : str
        Of the frozen consensus basis.
    run_id : str
        MLflow's, so that a resumed study goes on in the same run.
    """

    round: int
    weights: dict[str, Float32]
    outer: Arrays
    settings: StudySettings
    basis_hash: str
    run_id: str = ""


def round_name(number: int) -> str:
    """Name of the folder of a round, by its number from 1."""
    return f"round-{number:06d}"


def recorded(directory: str | Path, ours: RunHistory) -> RunHistory:
    """What an earlier run of a study recorded; `ours` where there was none.

    Raises
    ------
    ValueError
        If it was a study of other settings.
    """
    if not (Path(directory) / SUMMARY).exists():
        return ours
    past = read_history(directory)
    require_same(past.settings, ours.settings, SUMMARY)
    return past


def round_folders(directory: str | Path) -> list[Path]:
    """Complete rounds of a study, oldest first."""
    complete = (p for p in Path(directory).glob("rounds/round-*") if (p / STATE).is_file())
    numbers = {p.name.removeprefix("round-"): p for p in complete}
    return [numbers[n] for n in sorted(filter(str.isdecimal, numbers), key=int)]


def write_round(directory: str | Path, state: RoundState, best: int | None = None) -> Path:
    """Save ``DIR/rounds/round-<number>`` in one step; drop those that need not be kept.

    Kept are the newest two, the one of number `best`, and one every ``rounds.keep_every``.

    Raises
    ------
    FileExistsError
        If the round is there already.
    """
    path = Path(directory) / "rounds" / round_name(state.round)
    facts = {
        "round": state.round,
        "basis_hash": state.basis_hash,
        "run_id": state.run_id,
        "settings": state.settings.model_dump(mode="json"),
    }
    _clear(path.parent)
    with atomic_folder(path) as folder:
        save_file(_contiguous(state.weights), folder / WEIGHTS)
        save_file(_contiguous(state.outer), folder / OUTER)
        (folder / STATE).write_text(json.dumps(facts, indent=1) + "\n")
    for old in round_folders(directory)[:-KEPT]:
        number = int(old.name.removeprefix("round-"))
        if number != best and number % state.settings.rounds.keep_every:
            (old / STATE).unlink()  # incomplete from here on, wherever this is killed
            shutil.rmtree(old)
    return path


def _clear(rounds: Path) -> None:
    """Remove what a kill left: rounds half written, and those half removed."""
    clear_leftovers(rounds)
    for path in rounds.glob("round-*"):
        ours = path.name.removeprefix("round-").isdecimal()
        if ours and not (path / STATE).is_file():
            shutil.rmtree(path)


def read_newest(
    directory: str | Path, settings: StudySettings, basis_hash: str
) -> RoundState | None:
    """The newest complete round, or None where there is none.

    Parameters
    ----------
    directory : path
    settings : StudySettings
        The study to continue; quorum, deadlines and the rounds between evaluations may differ
        from the saved ones.
    basis_hash : str

    Raises
    ------
    ValueError
        If the round is of other settings or another basis, or its files are damaged.
    """
    folders = round_folders(directory)
    return read_round(folders[-1], settings, basis_hash) if folders else None


def read_round(path: Path, settings: StudySettings, basis_hash: str) -> RoundState:
    """One round's folder, checked as `read_newest` says."""
    try:
        facts = json.loads((path / STATE).read_text())
        number, found_hash, saved = facts["round"], facts["basis_hash"], facts["settings"]
        run_id, flat = facts["run_id"], _flat(saved)
        weights, outer = load_file(path / WEIGHTS), load_file(path / OUTER)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(
            f"expected a round with {STATE}, {WEIGHTS} and {OUTER}, found {plainly(error)}; "
            f"remove '{path.name}' to continue from the round before it"
        ) from error
    require_same(flat, _flat(settings.model_dump(mode="json")), path.name)
    if found_hash != basis_hash:
        raise ValueError(
            f"expected the basis {basis_hash[:12]}, found {str(found_hash)[:12]} in the saved "
            f"{path.name}; put the study's own basis back, or start in a new folder"
        )
    return RoundState(number, weights, outer, settings, basis_hash, run_id)


def require_same(saved: dict[str, Any], ours: dict[str, Any], where: str) -> None:
    """Refuse to continue with other settings than the saved ones, but for `FREE`.

    Parameters
    ----------
    saved, ours : dict
        Settings as JSON, nested or by dotted name.
    where : str
        What holds the saved ones.

    Raises
    ------
    ValueError
        Naming the first setting that differs.
    """
    saved, ours = _flat(saved), _flat(ours)
    for key in sorted((ours.keys() | saved.keys()) - set(FREE)):
        if ours.get(key) != saved.get(key):
            raise ValueError(
                f"expected {key} = {ours.get(key, 'nothing')}, found "
                f"{saved.get(key, 'nothing')} in the saved {where}; "
                "continue with the saved settings, or start in a new folder"
            )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _contiguous(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Safetensors writes the buffer as it lies, whatever the strides."""
    return {name: np.asarray(value, order="C") for name, value in arrays.items()}
