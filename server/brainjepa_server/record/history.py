"""What a federated study records of itself: a summary, and beside it a line for each round.

A round costs its own line and no more, however many there were before it.

Sites go by the names the coordinator gave them (``site-01`` ...). A number that was not measured,
or is NaN or infinite, is None here and null in the file, so that strict JSON readers can read it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, computed_field, model_validator

from brainjepa_core.files import append_line, atomic_path
from brainjepa_core.settings import problems_of
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.fields import Count, Number, Reason, Record, Settings
from brainjepa_server.record.gains import Gain, gains
from brainjepa_server.record.sum_records import SumRecord
from brainjepa_server.record.yardstick_row import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    YardstickRow,
    alone,
    is_alone,
)

__all__ = [
    "FEDERATED", "FORMAT", "POOLED", "RANDOM", "ROUNDS", "START", "SUMMARY", "TOLD_BY_SITES",
    "RoundRecord", "RunHistory", "SiteRecord", "Told", "YardstickRow", "alone", "append_round",
    "is_alone", "read_history", "write_history", "write_summary",
]  # fmt: skip

SUMMARY, ROUNDS = "summary.json", "rounds.jsonl"
TOLD_BY_SITES = ("stores", "told", "promised", "promised_alone")  # fields, by site
FORMAT = 8  # raised when what is recorded changes its names or meaning


class Told(Record):
    """How many people and scans a site told of when it joined, each rounded down."""

    people: Count = 0
    scans: Count = 0


class SiteRecord(Record):
    """One site's reply to one round.

    Attributes
    ----------
    loss, loss_last : float or None
        Mean over the round's steps, and that of the last step.
    steps : int
    seconds : float or None
        As the site measured its own work.
    share : float or None
        What the reply counted by.
    norm, scale : float
        Of its difference, relative to the round's weights; what clipping multiplied it by.
    bytes_up, bytes_down : int
    drift : float or None
        Largest principal angle, in degrees, of the site's own gradients against the basis.
    metrics : dict of str to float or None
        Whatever else the site sent, such as signs of collapse.
    """

    loss: Number = None
    loss_last: Number = None
    steps: Count = 0
    seconds: Number = None
    share: Number = None
    norm: Number = None
    scale: float = Field(1.0, ge=0, le=1)
    bytes_up: Count = 0
    bytes_down: Count = 0
    drift: Number = None
    metrics: dict[str, Number] = {}


class RoundRecord(Record):
    """One round.

    Attributes
    ----------
    number : int
        From 1.
    first_step : int
        From 0, of the whole study.
    seconds, seconds_beyond_sites : float or None
        Wall time of the round, and the part of it in which no site was at work.
    bytes_down, bytes_up : int
        Sums over all sites asked.
    sites : dict of str to SiteRecord
        Replies that were used.
    rejected : dict of str to str
        Why a site's reply was left out; at most `fields.LONGEST_REASON` characters each.
    clipped, capped : dict of str to str
        Why a site's difference was shortened, and why its reply counted by less than the share
        that it named.
    unjudged : dict of str to str
        Why a site's people are not in the round's yardstick.
    not_read : dict of str to int
        How many of a site's people are beside the sample that the yardstick reads, as the site
        rounds; of sites that told.
    summed : SumRecord or None
        Where replies came as a secure sum: `sites` are then those in it, of whom only steps, time
        and bytes are known, and `rejected` are those that were gone, and at which step.
    yardstick : tuple of YardstickRow
        Empty where the round was not evaluated.
    """

    number: int = Field(ge=1)
    first_step: Count = 0
    seconds: Number = None
    seconds_beyond_sites: Number = None
    bytes_down: Count = 0
    bytes_up: Count = 0
    sites: dict[str, SiteRecord] = {}
    rejected: dict[str, Reason] = {}
    clipped: dict[str, Reason] = {}
    capped: dict[str, Reason] = {}
    unjudged: dict[str, Reason] = {}
    not_read: dict[str, Count] = {}
    summed: SumRecord | None = None
    yardstick: tuple[YardstickRow, ...] = ()

    @property
    def loss(self) -> float | None:
        """Mean loss of the sites, weighted as their replies were; None where no site sent one."""
        if self.summed is not None:
            return self.summed.loss
        pairs = [(s.loss, s.share or 0.0) for s in self.sites.values() if s.loss is not None]
        total = math.fsum(share for _, share in pairs)
        if not pairs:
            return None
        if total <= 0:
            mean = math.fsum(loss / len(pairs) for loss, _ in pairs)
        else:
            mean = math.fsum(loss * (share / total) for loss, share in pairs)
        return mean if math.isfinite(mean) else None


class RunHistory(Record):
    """Everything a study records of itself, except its weights.

    Attributes
    ----------
    format : int
        Of this file.
    name : str
        The study's.
    total_rounds : int or None
        Rounds the study is to have.
    settings : dict
        The study's settings as JSON.
    versions : dict of str to str
        Of this package, torch, Flower ...
    stores : dict of str to str
        Fingerprint of each site's scans when it joined.
    told : dict of str to Told
        By site.
    contract : str
        Hash of what each site approved; empty where virtual sites are asked without one.
    left_out : dict of str to str
        Why sites that were there do not take part.
    basis : BasisFacts or None
        None before the consensus.
    rounds : tuple of RoundRecord
        In order of their numbers.
    promised : dict of str to float or None
        Under ``protect: dp``, epsilon of the whole study for each site's people.
    promised_alone : dict of str to float or None
        The same if the site is the only one that follows the protocol, where sites share the noise.
    best_round : int or None
        The best by the yardstick, among those evaluated.
    baselines : tuple of YardstickRow
        Final comparison, models named `FEDERATED`, `POOLED`, `RANDOM`, `START` and by `alone`.
        Empty where it was not made.
    unjudged : dict of str to dict
        By the model of a baseline, why sites' people are not in its rows.
    gains : tuple of Gain
        How far the federation's model is ahead of each other in `baselines`, at the sites. In the
        file for whoever reads it elsewhere; here made from the rows, always.
    """

    format: int = FORMAT
    name: str = ""
    total_rounds: int | None = None
    settings: Settings = {}
    versions: dict[str, str] = {}
    stores: dict[str, str] = {}
    told: dict[str, Told] = {}
    contract: str = ""
    left_out: dict[str, Reason] = {}
    basis: BasisFacts | None = None
    rounds: tuple[RoundRecord, ...] = ()
    promised: dict[str, Number] = {}
    promised_alone: dict[str, Number] = {}
    best_round: int | None = None
    baselines: tuple[YardstickRow, ...] = ()
    unjudged: dict[str, dict[str, Reason]] = {}

    @model_validator(mode="before")
    @classmethod
    def _make_gains_anew(cls, content: Any) -> Any:
        kept = content.items() if isinstance(content, dict) else ()
        return {name: value for name, value in kept if name != "gains"} if kept else content

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gains(self) -> tuple[Gain, ...]:
        return tuple(gains(self.baselines))

    def with_round(self, record: RoundRecord) -> RunHistory:
        """With a round added; rounds of a future that a crash lost are cut."""
        kept = tuple(old for old in self.rounds if old.number < record.number)
        return self.model_copy(update={"rounds": (*kept, record)})

    def having(self, **fields: Any) -> RunHistory:
        """With other fields, checked as those of a new history."""
        old = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(old | fields))

    @property
    def is_private(self) -> bool:
        """Whether steps were under ``protect: dp``, where no loss and no score is known."""
        return bool(self.settings.get("privacy"))

    @property
    def shares_noise(self) -> bool:
        """Whether what leaves a site is the noised gradient of one step, for a sum."""
        return (self.settings.get("privacy") or {}).get("where") == "central"

    @property
    def in_secure_sums(self) -> bool:
        """Whether replies came as sums over sites, also where sites share the noise."""
        return isinstance(self.settings.get("protect"), dict) or self.shares_noise

    @property
    def used_sites(self) -> list[str]:
        """Sites whose replies are in the weights, sorted."""
        return sorted({name for record in self.rounds for name in record.sites})

    @property
    def site_names(self) -> list[str]:
        """Every site that a round or the basis knows, sorted."""
        names = {*self.basis.sites, *self.basis.drift} if self.basis else set()
        for record in self.rounds:
            names |= record.sites.keys() | record.rejected.keys()
        return sorted(names)


def write_history(folder: str | Path, history: RunHistory) -> None:
    """Write FOLDER/summary.json and FOLDER/rounds.jsonl, replacing each in one step.

    Done where a study begins or goes on: what a kill left beyond the rounds of `history` goes.
    """
    with atomic_path(Path(folder) / ROUNDS) as temporary:
        temporary.write_text("".join(map(_line, history.rounds)), encoding="utf-8")
    write_summary(folder, history)


def write_summary(folder: str | Path, history: RunHistory) -> None:
    """Write FOLDER/summary.json: all of a history but its rounds."""
    with atomic_path(Path(folder) / SUMMARY) as temporary:
        text = history.model_dump_json(indent=1, exclude={"rounds"})
        temporary.write_text(f"{text}\n", encoding="utf-8")


def append_round(folder: str | Path, record: RoundRecord) -> None:
    """Add a round's line to FOLDER/rounds.jsonl; it is on the disk when this returns."""
    append_line(Path(folder) / ROUNDS, record.model_dump_json())


def _line(record: RoundRecord) -> str:
    return f"{record.model_dump_json()}\n"


def read_history(folder: str | Path) -> RunHistory:
    """Read what a study has recorded, while it runs too.

    Raises
    ------
    ValueError
        If there is nothing, or it is damaged or of another version.
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise ValueError(
            f"expected {SUMMARY} in the folder of a federated study, found none in '{folder}'; "
            "give the folder that the coordinator wrote to"
        )
    content = path.read_bytes()
    _require_format(content)
    try:
        history = RunHistory.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(
            f"expected {SUMMARY} as this version writes it, found {problems_of(error)[:400]}; "
            "read it with the version that wrote it, or restore it from a copy"
        ) from error
    return history.model_copy(update={"rounds": _read_rounds(path.with_name(ROUNDS))})


def _read_rounds(path: Path) -> tuple[RoundRecord, ...]:
    """Rounds in order; a last line without its end is one that a kill cut short."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = RoundRecord.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(
                f"{ROUNDS} line {number}: expected a round as this version writes it, found "
                f"{problems_of(error)[:400]}; restore the file from a copy"
            ) from error
        if record.number != number:
            raise ValueError(
                f"{ROUNDS} line {number}: expected round {number}, found round {record.number}; "
                "restore the file from a copy"
            )
        records.append(record)
    return tuple(records)


def _require_format(content: bytes) -> None:
    try:
        found = json.loads(content)
        number = found.get("format", 1)
    except (ValueError, AttributeError, RecursionError):
        return  # whoever reads the fields says what is wrong with them
    if number != FORMAT:
        raise ValueError(
            f"expected a study of format {FORMAT}, found one of format {str(number)[:20]}, begun "
            "by another version; go on with the version that began it, or begin a new study from "
            "its model (start_from: {model: FOLDER})"
        )
