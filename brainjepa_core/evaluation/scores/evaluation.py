"""One task, one protocol, every method on the same splits: what one table is made of.

Predictions are kept split by split as they come, so that an evaluation that was killed goes on
where it stopped.

Shapes: t tested people of a split, K classes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.files import atomic_path

KEPT = "predictions"


def predict_all(
    methods: Sequence[Method],
    data: TaskData,
    splits: Sequence[Split],
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Predictions]:
    """Let every method predict the tested part of every split.

    Parameters
    ----------
    methods : sequence of Method
        Of different names.
    data : TaskData
    splits : sequence of Split
    folder : Path, optional
        Where predictions are kept, and read where they are there; it must be that
        of an evaluation of the same data (`brainjepa_core.origin`).
    progress : callable
        Called with the method's name after each split.

    Raises
    ------
    ValueError
        If two methods have one name, or a method predicts other shapes than it should or values
        that are not finite.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"expected methods of different names, found {', '.join(twice)} twice; rename one"
        )
    values: dict[str, list[Float64]] = {name: [] for name in names}
    for split in splits:  # one after another, since methods share what they learn of its features
        for method in methods:
            file = None if folder is None else _file(folder, method.name, split)
            values[method.name].append(_predict(method, data, split, file))
            progress(method.name)
    return [Predictions(name, list(splits), found) for name, found in values.items()]


def _predict(method: Method, data: TaskData, split: Split, file: Path | None) -> Float64:
    if file is not None and file.exists():
        return np.asarray(np.load(file, allow_pickle=False), np.float64)
    found = np.asarray(method.predict(data, split), np.float64)
    shape = (len(split.test), len(data.classes)) if data.classes else (len(split.test),)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(
            f"task '{data.task.name}': expected finite predictions of shape {list(shape)} from "
            f"'{method.name}' in split '{split.name}', found shape {list(found.shape)} with "
            f"{int((~np.isfinite(found)).sum())} that are not finite; leave the method out, or "
            "lower its learning rate"
        )
    if file is not None:
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, found)
    return found


def _file(folder: Path, method: str, split: Split) -> Path:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{method} {split.name}").strip("-")[:80]
    unique = hashlib.sha256(f"{method}\0{split.name}\0{split.repetition}".encode()).hexdigest()[:8]
    return folder / KEPT / f"{readable}-{unique}.npy"
