"""A site's training state on its own disk, a folder a round: ``STATE/<study>/round-<number>``.

Rounds on disk are numbered from 1, as wherever people read them.

A request for a round starts from the newest state of an earlier round, never from the one the
same request wrote before. So a repeated request gives the same reply, wherever a first one was
killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.guarding.sizes import KEPT
from brainjepa_core.arrays import Float32
from brainjepa_core.files import atomic_folder, clear_leftovers
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.pretraining.state import OPTIMIZER, load_optimizer_arrays, optimizer_arrays
from brainjepa_core.pretraining.step import Training
from brainjepa_core.problems import plainly
from brainjepa_core.wire.messages import Assignment, told_round

FACTS, FOLLOWERS, KEPT_BACK = "round.json", "followers.safetensors", "kept_back.safetensors"


def study_folder(state: Path, assignment: Assignment) -> Path:
    """Folder of a study; its name is checked by `Assignment`."""
    return state / assignment.study_id


def rounds(folder: Path) -> list[int]:
    """Numbers of the rounds with a complete state, ascending."""
    names = [path.parent.name.removeprefix("round-") for path in folder.glob(f"round-*/{FACTS}")]
    return sorted(int(name) for name in names if name.isdecimal())


def load_state(state: Path, assignment: Assignment, training: Training, *, moments: bool) -> None:
    """Put the newest state of an earlier round into `training`; a site without one starts fresh.

    Parameters
    ----------
    state : Path
        The site's state folder.
    assignment : Assignment
    training : Training
        With the round's global weights.
    moments : bool
        False leaves the optimiser fresh. What follows the weights is taken up with target "local".

    Raises
    ------
    Refusal
        If the state is damaged.
    """
    if moments:
        arrays = _newest(state, assignment, OPTIMIZER)
        if arrays is not None:
            load_optimizer_arrays(training, arrays)
    if assignment.target == "local" and (followers := _newest(state, assignment, FOLLOWERS)):
        training.model.load_state_dict({**training.model.state_dict(), **followers})


def load_kept_back(state: Path, assignment: Assignment) -> dict[str, Float32]:
    """What the wire dropped of the answer to the newest earlier round, by name; empty if nothing.

    Raises
    ------
    Refusal
        If the state is damaged.
    """
    if assignment.wire != "int8":
        return {}
    found = _newest(state, assignment, KEPT_BACK) or {}
    return {name: value.numpy() for name, value in found.items()}


def newest_earlier(state: Path, assignment: Assignment) -> str:
    """SHA-256 (hex) of the state that the round would start from; empty where there is none."""
    own, found = told_round(assignment.round), hashlib.sha256()
    earlier = [number for number in rounds(study_folder(state, assignment)) if number < own]
    if not earlier:
        return ""
    for name in (OPTIMIZER, FOLLOWERS):
        path = _round_folder(state, assignment, earlier[-1]) / name
        found.update(path.read_bytes() if path.exists() else b"")
    return found.hexdigest()


def _newest(state: Path, assignment: Assignment, name: str) -> dict[str, torch.Tensor] | None:
    """A file of the newest state of an earlier round; None where there is none."""
    own = told_round(assignment.round)
    earlier = [number for number in rounds(study_folder(state, assignment)) if number < own]
    if not earlier:
        return None
    path = _round_folder(state, assignment, earlier[-1]) / name
    try:
        return load_file(path) if path.exists() or name == OPTIMIZER else None
    except (OSError, ValueError, SafetensorError) as error:
        raise Refusal(
            f"expected a readable state of round {earlier[-1]} at this site, found "
            f"{plainly(error)}; its manager should restore or remove it"
        ) from error


def write_state(
    state: Path, assignment: Assignment, training: Training, kept_back: Mapping[str, Float32]
) -> None:
    """Save the round's end atomically; later rounds go, of earlier ones the newest stays.

    Parameters
    ----------
    state : Path
        The site's state folder.
    assignment : Assignment
    training : Training
    kept_back : mapping of str to ndarray of float32
        What the wire dropped of this round's answer.

    Raises
    ------
    Refusal
        If the answer has to end: nothing is saved then.
    """
    folder, own = study_folder(state, assignment), told_round(assignment.round)
    with locked(folder):
        require_going_on()  # within the lock: who leaves removes what is there, and nothing comes
        for number in rounds(folder):
            if number >= own:  # a future that the coordinator gave up
                _remove(_round_folder(state, assignment, number))
        clear_leftovers(folder)
        for path in folder.glob("round-*"):
            if not (path / FACTS).is_file():  # a kill came between the two steps of a removal
                shutil.rmtree(path)
        with atomic_folder(_round_folder(state, assignment, own)) as temporary:
            save_file(optimizer_arrays(training), temporary / OPTIMIZER)
            if assignment.target == "local":
                save_file(_followers(training), temporary / FOLLOWERS)
            if kept_back:
                tensors = {name: torch.from_numpy(value) for name, value in kept_back.items()}
                save_file(tensors, temporary / KEPT_BACK)
            facts = {"round": own, "step": training.step}
            (temporary / FACTS).write_text(json.dumps(facts) + "\n")
        for number in rounds(folder)[:-KEPT]:
            _remove(_round_folder(state, assignment, number))


def remove_states(folder: Path) -> int:
    """Remove all of a study's states; how many there were."""
    if not folder.is_dir():
        return 0
    with locked(folder):
        found = rounds(folder)
        for path in folder.glob("round-*"):
            _remove(path)
        return len(found)


def _followers(training: Training) -> dict[str, torch.Tensor]:
    """What follows the trained weights, where it stays at the site."""
    is_follower = training.model.roles.is_follower
    return {k: v for k, v in model_arrays(training.model).items() if is_follower(k)}


def _round_folder(state: Path, assignment: Assignment, number: int) -> Path:
    return study_folder(state, assignment) / f"round-{number:06d}"


def _remove(folder: Path) -> None:
    (folder / FACTS).unlink(missing_ok=True)  # incomplete from here on, wherever this is killed
    shutil.rmtree(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time: a process that was thought dead may still be finishing its round."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
