"""On which devices training runs, how its processes are started, and how exactly they add."""

from __future__ import annotations

import shlex
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from brainjepa_core.settings import Frozen, problems_of

DEVICE = r"^(cpu|cuda(:\d+)?)$"
Reduce = Literal["ordered", "sum"]
# How far weights may be from those of one process, relative to the largest.
DEVIATION: dict[Reduce, float] = {"ordered": 0.0, "sum": 1e-6}


class Devices(Frozen):
    """What whoever trains decides about their machine; a study is none the wiser.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda`` or ``cuda:<number>``.
    devices : tuple of str
        Of training, a process each: ``[cuda:0, cuda:1]``. A step's micro-batches are shared out
        among them, so that their number has to divide the study's accumulation. `device`, by
        default the first of them, does all else.
    reduce : {"ordered", "sum"}
        Whether the gradients of micro-batches are added in the order in which one process adds
        them, which gives its bits, or as is fastest, which differs in the last ones.
    shard_optimizer : bool
        Whether each process keeps a part of AdamW's moments instead of all.
    launcher : str, optional
        Command that starts the processes, with ``{n}`` for their number and ``{program}`` for what
        each of them runs: ``srun --ntasks={n} --gpus-per-task=1 {program}``. torchrun, on this
        machine, by default.
    begins_within : int
        Seconds for which a launcher (and a cluster's job) may wait before its processes begin.
    """

    device: str = Field("cpu", pattern=DEVICE)
    devices: tuple[str, ...] = ()
    reduce: Reduce = "ordered"
    shard_optimizer: bool = False
    launcher: str | None = None
    begins_within: int = Field(3600, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _first_does_the_rest(cls, given: Any) -> Any:
        devices = given.get("devices") if isinstance(given, dict) else None
        if isinstance(devices, list | tuple) and devices:
            return {"device": devices[0], **given}
        return given

    @field_validator("devices")
    @classmethod
    def _of_one_kind(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        for name in devices:
            if name != "cpu" and not (name.startswith("cuda:") and name[5:].isdecimal()):
                raise ValueError(
                    f"expected devices named cpu or cuda:<number>, found '{name[:20]}'; write "
                    "[cuda:0, cuda:1]"
                )
        if len({name.split(":")[0] for name in devices}) > 1:
            raise ValueError(
                f"expected devices of one kind, found {', '.join(devices)}; the slower kind would "
                "keep the others waiting: name one kind"
            )
        return devices

    @field_validator("launcher")
    @classmethod
    def _starts_the_program(cls, launcher: str | None) -> str | None:
        try:
            words = shlex.split(launcher or "{program}")
        except ValueError:  # a quote that is not closed
            words = []
        if not any("{program}" in word for word in words):
            raise ValueError(
                "expected a command line with {program} where that of a process belongs, found "
                "another text; write srun --ntasks={n} {program}"
            )
        return launcher

    @model_validator(mode="after")
    def _each_its_own(self) -> Self:
        """Two processes on one GPU of this machine are a mistake; other machines have others."""
        cards = [name for name in self.devices if name != "cpu"]
        if self.launcher is None and len(set(cards)) < len(cards):
            raise ValueError(
                f"expected each GPU once, found {', '.join(cards)}; name others, or a launcher "
                "that starts processes on several machines"
            )
        return self

    @property
    def processes(self) -> int:
        """In how many processes training runs."""
        return max(1, len(self.devices))

    @property
    def trains_on(self) -> tuple[str, ...]:
        """Device of each process of training."""
        return self.devices or (self.device,)

    @property
    def deciding(self) -> tuple[str, ...]:
        """What of this decides on the bits of training: not how many add in order."""
        if self.processes == 1 or self.reduce == "ordered":
            return self.trains_on[:1]
        return (*self.trains_on, self.reduce)

    @property
    def deviation(self) -> float:
        """How far weights may be from those of one process, by `reduce`: 0 where bits are equal."""
        return 0.0 if self.processes == 1 else DEVIATION[self.reduce]

    def of_process(self, rank: int) -> Self:
        """The same settings as one of the processes has them."""
        one = {"device": self.trains_on[rank], "devices": (), "launcher": None}
        return self.model_copy(update=one)

    def require_within(self, tolerance: float) -> None:
        """Refuse sums that are further from exact than a study accepts.

        Raises
        ------
        ValueError
        """
        if self.deviation > tolerance:
            raise ValueError(
                f"expected steps computed to {tolerance:g} of exact fp32 or better, as the study "
                f"asks (training.tolerance), found reduce: {self.reduce}, which is to "
                f"{self.deviation:g}; set reduce: ordered"
            )

    def require_divides(self, accumulation: int) -> None:
        """Refuse a study whose micro-batches cannot be shared out evenly.

        Raises
        ------
        ValueError
        """
        if accumulation % self.processes:
            raise ValueError(
                f"expected a number of devices that divides the study's accumulation "
                f"({accumulation}), the micro-batches of a step, found {self.processes}; name "
                f"{_divisors(accumulation)}"
            )


def several(names: str, reduce: Reduce, shard_optimizer: bool) -> Devices:
    """Devices of this machine, named in one text with commas between them.

    Raises
    ------
    ValueError
        If there are not several, or they do not go together.
    """
    devices = tuple(name.strip() for name in names.split(","))
    if len(devices) < 2:
        raise ValueError(
            f"expected several devices with commas between them (cuda:0,cuda:1), found "
            f"'{names[:40]}'; name one as --device"
        )
    try:
        return Devices(devices=devices, reduce=reduce, shard_optimizer=shard_optimizer)
    except ValidationError as error:
        raise ValueError(f"--devices: {problems_of(error)}") from error


def _divisors(number: int) -> str:
    """Numbers of devices that divide a number, in words; as many as a machine might have."""
    *others, last = (str(n) for n in range(1, min(number, 64) + 1) if number % n == 0)
    return f"{', '.join(others)} or {last} devices" if others else "one device"
