"""Questions of a contract: only what it says, and each of them once.

The same question again gets the same answer, for its arrays and the store are the same; another one
in its place is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from brainjepa_client.guarding.policy import Refusal
from brainjepa_core.files import append_line
from brainjepa_core.settings import flatten
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, KINDS, TRAIN, Request, told_round


def require_asked(contract: Contract, request: Request) -> None:
    """Refuse an assignment that is not the contract's.

    Raises
    ------
    Refusal
        Naming what the contract says otherwise.
    """
    given = request.assignment
    if request.kind not in KINDS or (given.probe is not None and request.kind != EVALUATE):
        raise Refusal("expected a question of the contract, found one of another kind")
    if given.probe is not None and not contract.times(EVALUATE, given.probe):
        raise Refusal("expected a task of the contract, found another one; propose the study again")
    last = contract.rounds if request.kind == TRAIN else contract.rounds + 1
    expected = contract.asked(min(given.round, last - 1), given.probe)
    if given != expected:
        mine, its = (dict(flatten(a.model_dump(mode="json"))) for a in (expected, given))
        name = next(n for n in sorted(mine.keys() | its.keys()) if mine.get(n) != its.get(n))
        raise Refusal(
            f"expected {name} = {mine.get(name, 'nothing')} as in contract "
            f"{contract.short}, found {its.get(name, 'nothing')}; a site answers what it "
            "has approved and nothing else"
        )


def write_down(path: Path, contract: Contract, request: Request) -> None:
    """Write a question of a contract down; refuse one that was asked otherwise, or too often.

    Parameters
    ----------
    path : Path
        Of the list of the contract's questions; the line is on the disk when this returns.
    contract : Contract
    request : Request

    Raises
    ------
    Refusal
    """
    if request.kind == DESCRIBE:
        return
    probe = request.assignment.probe
    task = "" if probe is None else hashlib.sha256(probe.model_dump_json().encode()).hexdigest()
    question = {
        "kind": request.kind,
        "task": task,
        "round": request.assignment.round,
        "arrays": request.digest if request.sum is None else request.sum.question,
    }
    asked = _lines(path)
    if question in asked:
        return
    same = [a for a in asked if (a["kind"], a["task"]) == (request.kind, task)]
    in_round = [a for a in same if a["round"] == request.assignment.round]
    if request.kind == TRAIN and in_round:
        raise Refusal(
            f"round {told_round(request.assignment.round)} of contract "
            f"{contract.short} was asked of this site with other arrays before; a "
            "question is answered once"
        )
    times = contract.times(request.kind, probe)
    if len(same) >= times:
        raise Refusal(
            f"contract {contract.short} has {request.kind} asked at most {times} times "
            "with different arrays, and it was; a question is answered once"
        )
    append_line(path, json.dumps(question))


def _lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines; one that a kill has torn was of a question that was never answered."""
    if not path.exists():
        return []
    try:
        return [dict(json.loads(line)) for line in path.read_text("utf-8").split("\n")[:-1]]
    except (ValueError, TypeError) as error:
        raise Refusal(
            "expected the site's list of what it was asked, found it damaged; its manager should "
            "restore it"
        ) from error
