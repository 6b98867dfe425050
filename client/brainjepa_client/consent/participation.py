"""Which people stood behind which of a site's answers: kept at the site, by fingerprint.

::

    STATE/<study>/answers.jsonl          a line an answer: contract, kind, round, people, who
    STATE/<study>/people-<digest>.json   fingerprints of a list of people, in its order

So that a site can say, when somebody withdraws, which rounds they were in.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.files import append_line, atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.signals.storing.withdrawn import Fingerprint
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN, told_round

ANSWERS = "answers.jsonl"


def note_answer(
    folder: Path, kind: str, number: int, people: Sequence[str], taking_part: Iterable[int],
    salt: str, contract: str = "",
) -> None:  # fmt: skip
    """Write down who is behind an answer, before it leaves; on disk when this returns.

    Parameters
    ----------
    folder : Path
        The study's, in the site's state.
    kind : str
    number : int
        Of the round, counted from 0 as on the wire.
    people : sequence of str
        Labels of all people that could have been.
    taking_part : iterable of int
        Which of them were.
    salt : str
        The site's.
    contract : str
        Hash of the contract that it was asked by; empty where there is none.
    """
    listed = [Fingerprint.of(label, salt).person for label in people]
    name = hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]
    if not _list_file(folder, name).exists():
        with atomic_path(_list_file(folder, name)) as temporary:
            temporary.write_text(json.dumps(listed) + "\n")
    part = np.zeros(len(listed), bool)
    part[list(taking_part)] = True
    who = base64.b64encode(np.packbits(part).tobytes()).decode()
    line = {
        "contract": contract,
        "kind": kind,
        "round": number,
        "people": name,
        "who": who,
    }
    append_line(folder / ANSWERS, json.dumps(line))


def fingerprints(labels: Iterable[str], salt: str) -> frozenset[str]:
    """Salted fingerprints of people by their labels."""
    return frozenset(Fingerprint.of(label, salt).person for label in labels)


@dataclass(frozen=True)
class TakenPart:
    """A person's part in a study.

    Attributes
    ----------
    study : str
    basis : bool
        Whether the site's sums for the consensus gradients held them.
    trained, evaluated : tuple of int
        Rounds, counted from 1, whose training drew them, and whose evaluation counted them.
    """

    study: str
    basis: bool
    trained: tuple[int, ...]
    evaluated: tuple[int, ...]

    def in_words(self) -> str:
        """What a consortium has to know to be without the person."""
        if not self.trained:
            weights = "no round was trained on them"
        else:
            before = self.trained[0] - 1
            last = f"weights after round {before}" if before else "weights the study began with"
            weights = f"trained on in {ranges(self.trained)}; the {last} are the last without them"
        parts = [weights]
        if self.basis:
            parts.append("the consensus gradients hold them, which only a new study is without")
        if self.evaluated:
            parts.append(f"counted in evaluations of {ranges(self.evaluated)}")
        return f"study '{self.study}': " + "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the audit log."""
        return {"basis": self.basis, "trained": self.trained, "evaluated": self.evaluated}


def part_taken(state: Path, label: str, salt: str) -> list[TakenPart]:
    """A person's part in every study that this site has answered.

    Parameters
    ----------
    state : Path
        The site's state folder.
    label : str
        With or without ``sub-``.
    salt : str
        The site's.

    Raises
    ------
    ValueError
        If a record is damaged: then nobody can say.
    """
    person = Fingerprint.of(label, salt).person
    found = []
    for path in sorted(state.glob(f"*/{ANSWERS}")):
        rounds: dict[str, set[int]] = {GRADIENTS: set(), TRAIN: set(), EVALUATE: set()}
        for answer in _answers(path):
            if person in _behind(path.parent, answer):
                rounds.setdefault(answer["kind"], set()).add(told_round(answer["round"]))
        if any(rounds.values()):
            trained, evaluated = (tuple(sorted(rounds[kind])) for kind in (TRAIN, EVALUATE))
            basis = bool(rounds[GRADIENTS])
            found.append(TakenPart(path.parent.name, basis, trained, evaluated))
    return found


@dataclass(frozen=True)
class PastAnswer:
    """An answer of this site.

    Attributes
    ----------
    contract : str
        Hash of the contract that it was asked by; empty where there was none.
    kind : str
    people : frozenset of str
        Fingerprints of who is behind it.
    """

    contract: str
    kind: str
    people: frozenset[str]

    def is_about(self, people: Set[str]) -> bool:
        """Whether it is about these people (`are_same`)."""
        return are_same(self.people, people)


def are_same(some: Set[str], others: Set[str]) -> bool:
    """Whether two groups share at least half of the people of the smaller one.

    A store that a scan has joined is of the same people, and so is a round that drew a few of them.
    """
    return 2 * len(some & others) >= min(len(some), len(others)) > 0


def past_answers(state: Path) -> Iterator[PastAnswer]:
    """All answers with people behind them, of every study.

    Parameters
    ----------
    state : Path
        The site's state folder.

    Raises
    ------
    ValueError
        If a record is damaged.
    """
    for path in sorted(state.glob(f"*/{ANSWERS}")):
        for answer in _answers(path):
            behind = _behind(path.parent, answer)
            yield PastAnswer(answer.get("contract", ""), answer["kind"], behind)


def _answers(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    answers = []
    for line in lines[:-1]:
        try:
            answers.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            continue  # torn by a kill: that answer never left
    return answers


def _behind(folder: Path, answer: dict[str, Any]) -> frozenset[str]:
    """Fingerprints of the people behind an answer."""
    path = _list_file(folder, answer["people"])
    try:
        listed = json.loads(path.read_text())
        who = np.unpackbits(np.frombuffer(base64.b64decode(answer["who"]), np.uint8))
        return frozenset(name for place, name in enumerate(listed) if who[place])
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f"expected the list of people behind an answer in '{path}', found {plainly(error)}; "
            "restore the file: without it nobody can say which rounds a person was in"
        ) from error


def _list_file(folder: Path, name: str) -> Path:
    return folder / f"people-{name}.json"


def ranges(rounds: Sequence[int]) -> str:
    """``(1, 2, 3, 5)`` as "rounds 1 to 3, 5"."""
    runs: list[list[int]] = []
    for number in rounds:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"round{'s' if len(rounds) > 1 else ''} " + ", ".join(texts)
