"""A contract: a study as a site approves it, and all that it may be asked in it.

Its hash is what a request carries. Whatever else a request says has to be what the contract says:
a site that has approved the text knows every question beforehand, and how often it may be asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.consortium.summing import FEWEST
from brainjepa_core.problems import plainly
from brainjepa_core.settings import Frozen, flatten
from brainjepa_core.wire.groups import require_groups
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    TRAIN,
    Assignment,
    ProbeRequest,
    Want,
)

SUMMED: tuple[Want, ...] = ("sums", "judge")  # of a task: what adds up over sites
LARGEST = 262_144  # bytes of a text
SHOWN = 12  # characters of a hash in texts


class TaskQuestion(Frozen):
    """A question about a task, and with how many different arrays it may be asked.

    Attributes
    ----------
    probe : ProbeRequest
    times : int
    """

    probe: ProbeRequest
    times: int = Field(1, ge=1, le=1000)


class Contract(Frozen):
    """What a consortium asks of each of its sites in one study.

    Attributes
    ----------
    format : int
    consortium : str
        Its name.
    assignment : Assignment
        Of the first round; the others differ in round and steps alone.
    rounds : int
        Of the whole study.
    evaluations : int
        How many sets of weights the yardstick may be asked of.
    tasks : tuple of TaskQuestion
    roster : dict of str to str
        Fingerprint of each site's key, by the site's name.
    """

    format: Literal[3] = 3
    consortium: str = Field(min_length=1, max_length=64)
    assignment: Assignment
    rounds: int = Field(ge=1)
    evaluations: int = Field(ge=0)
    tasks: tuple[TaskQuestion, ...] = ()
    roster: dict[str, str] = Field(min_length=1)

    @field_validator("roster")
    @classmethod
    def _names(cls, roster: dict[str, str]) -> dict[str, str]:
        wrong = [name[:40] for name in roster if not SITE_NAME.fullmatch(name)]
        if wrong or len(set(roster.values())) < len(roster):
            found = f"'{wrong[0]}'" if wrong else "one key under two names"
            raise ValueError(
                f"expected names of sites, each with a key of its own, found {found}; admit each "
                "site by its request"
            )
        return roster

    @model_validator(mode="after")
    def _begins(self) -> Self:
        first = self.assignment
        if (first.round, first.first_step, first.contract, first.probe) != (0, 0, "", None):
            raise ValueError(
                "expected the assignment of a contract to be that of the first round, found that "
                "of another one; propose the study again"
            )
        if first.privacy is not None and (self.evaluations or self.tasks):
            raise ValueError(
                "expected no evaluations and no tasks in the contract of a study under "
                "protect: dp, found some; no budget counts them: propose the study again"
            )
        if first.privacy is not None:
            first.privacy.require_shared_by(len(self.roster))
        return self

    @model_validator(mode="after")
    def _can_be_summed(self) -> Self:
        alone = sorted({task.probe.want for task in self.tasks} - set(SUMMED))
        if self.assignment.protect and (
            self.assignment.wire != "fp32" or alone or len(self.roster) < FEWEST
        ):
            raise ValueError(
                f"expected a contract with protect: secure_sum to have wire fp32, of tasks "
                f"{' and '.join(SUMMED)} alone and at least {FEWEST} sites, found wire "
                f"{self.assignment.wire}, {', '.join(alone) or 'no other'} and "
                f"{len(self.roster)} sites; propose the study again"
            )
        if self.assignment.protect and self.assignment.protect.groups is not None:
            require_groups(self.assignment.protect.groups, len(self.roster))
        return self

    @cached_property  # each message asks for it several times
    def text(self) -> str:
        """The one way to write it down."""
        content = self.model_dump(mode="json")
        return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n"

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that may differ, whose text and hash are its own."""
        copied = super().model_copy(update=update, deep=deep)
        for written in ("text", "hash"):
            copied.__dict__.pop(written, None)
        return copied

    @property
    def short(self) -> str:
        """The beginning of the hash that texts show."""
        return self.hash[:SHOWN]

    def asked(self, number: int, probe: ProbeRequest | None = None) -> Assignment:
        """The assignment of a question of round `number`, counted from 0."""
        steps = self.assignment.steps
        return self.assignment.model_copy(
            update={
                "round": number,
                "first_step": number * steps,
                "probe": probe,
                "contract": self.hash,
            }
        )

    def times(self, kind: str, probe: ProbeRequest | None = None) -> int:
        """With how many different sets of arrays a kind of question may be asked, in all."""
        if probe is not None:
            return sum(task.times for task in self.tasks if task.probe == probe)
        sums = 1 if self.assignment.privacy is None else 0
        return {DESCRIBE: 1, GRADIENTS: sums, TRAIN: self.rounds, EVALUATE: self.evaluations}[kind]

    def differences(self, other: Contract) -> list[str]:
        """Names of what the other one says differently."""
        mine, its = (dict(flatten(c.model_dump(mode="json"))) for c in (self, other))
        return sorted(n for n in mine.keys() | its.keys() if mine.get(n) != its.get(n))


@lru_cache(maxsize=16)  # sites read it for every message, and virtual ones share a process
def read_contract(text: str) -> Contract:
    """Read a contract's text, written the one way there is.

    Raises
    ------
    ValueError
    """
    found = f"{len(text)} characters"
    if len(text) <= LARGEST:
        try:
            contract = Contract.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            found = f"'{'.'.join(map(str, first['loc']))}' that is none ({first['type']})"
        else:
            if contract.text == text:
                return contract
            found = "one written in another way"
    raise ValueError(
        f"expected the text of a contract as this version writes it, found {found}; bring "
        "coordinator and site to one version, and propose the study again"
    )


def contract_of_file(path: Path) -> Contract:
    """Read a contract that a coordinator has sent as a file.

    Raises
    ------
    ValueError
        Naming the file.
    """
    try:
        return read_contract(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"expected the text of a contract in '{path}', found {plainly(error)}; give the "
            "file that the coordinator has sent"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
