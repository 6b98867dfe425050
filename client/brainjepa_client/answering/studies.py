"""What each study was when this site first answered it: ``STATE/<study>/study.json``.

A sum over people tells nothing of one of them, but the difference of two sums over nearly the same
people does. So a site answers a study by one choice of people: one split into folds, one fold held
out, one kind of windows (a scan that fills none leaves its person out), and, for the consensus,
one store.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainjepa_client.computing.state import locked, study_folder
from brainjepa_client.guarding.policy import Refusal
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.settings import flatten
from brainjepa_core.wire.messages import Assignment

STUDY = "study.json"
# What decides who is in a sum.
PEOPLE = ("pretraining", "folds", "held_out_fold", "evaluate_people")
STORE = "store of the consensus"


def require_same_study(state: Path, assignment: Assignment, store: str | None = None) -> None:
    """Refuse a study whose settings, or people, are others than when it was first answered.

    What is answered first is on the disk before this returns, and so before anything leaves.

    Parameters
    ----------
    state : Path
        The site's state folder.
    assignment : Assignment
    store : str, optional
        Fingerprint of the store whose people are summed for the consensus.

    Raises
    ------
    Refusal
        Naming the first setting that differs.
    """
    folder = study_folder(state, assignment)
    told = dict(flatten(assignment.model_dump(mode="json", include=set(PEOPLE))))
    with locked(folder):
        known = _read(folder / STUDY)
        first = {name: value for name, value in known.items() if name != STORE}
        if first and first != told:
            name = next(n for n in sorted(first | told) if first.get(n) != told.get(n))
            raise Refusal(
                f"expected {name} = {first.get(name, 'nothing')} as when this site first answered "
                f"the study, found {told.get(name, 'nothing')}; go on with the first settings, or "
                "give the study a new name"
            )
        if store is not None and known.get(STORE, store) != store:
            raise Refusal(
                "expected the scans that this site gave to the study's consensus, found that they "
                "have changed; go on without this site, or give the study a new name"
            )
        news = {**told, **({} if store is None else {STORE: store})}
        if not news.items() <= known.items():
            with atomic_path(folder / STUDY) as temporary:
                temporary.write_text(json.dumps({**known, **news}, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(
            f"expected a readable {STUDY} of this study at this site, found {plainly(error)}; its "
            "manager should restore it"
        ) from error
