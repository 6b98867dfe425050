"""The processes of one training: who shares a step's micro-batches, and how their sums are made.

The micro-batch is the unit: each is computed whole by one process, in one way, so that what a step
adds up does not depend on how many processes there are; what is left is the order of adding.

P numbers of a vector, W processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from brainjepa_core.pretraining.parallel.settings import Reduce
from brainjepa_core.problems import counted

PATIENCE = timedelta(minutes=30)  # for others to finish a micro-batch


class Processes(Protocol):
    """Who trains together.

    Attributes
    ----------
    rank : int
        Of this process; the first one (0) logs, saves and answers.
    count : int
    """

    rank: int
    count: int

    def parts(self) -> slice:
        """Which of a step's micro-batches are this process' own."""

    def total(self, own: int) -> int:
        """Sum of a number of each process."""

    def any(self, own: bool) -> bool:
        """Whether it holds at one of the processes."""

    def add(self, vectors: Iterable[Tensor], like: Tensor) -> Tensor:
        """Sum of the vectors [P] of all micro-batches of all processes; zeros where there are none.

        Parameters
        ----------
        vectors : iterable of Tensor [P]
            Of this process' micro-batches in order, each used before the next is asked for.
        like : Tensor [P]
            Of their dtype and device.
        """

    def add_gradients(self, weights: Sequence[nn.Parameter], losses: Iterable[Tensor]) -> Tensor:
        """Leave the sum of all micro-batches' gradients in the weights, and return that of losses.

        Parameters
        ----------
        weights : sequence of Parameter
            Without gradients.
        losses : iterable of scalar Tensor
            Of this process' micro-batches in order; asking for one adds its gradient to the
            weights'.
        """

    def require_equal(self, weights: Iterable[Tensor]) -> None:
        """Refuse to go on where processes have come apart.

        Raises
        ------
        ValueError
        """


class Alone:
    """One process, which has all micro-batches."""

    rank, count = 0, 1

    def parts(self) -> slice:
        return slice(None)

    def total(self, own: int) -> int:
        return own

    def any(self, own: bool) -> bool:
        return own

    def add(self, vectors: Iterable[Tensor], like: Tensor) -> Tensor:
        return _in_order(vectors, like)

    def add_gradients(self, weights: Sequence[nn.Parameter], losses: Iterable[Tensor]) -> Tensor:
        return _in_order(losses, torch.zeros((), device=weights[0].device))

    def require_equal(self, weights: Iterable[Tensor]) -> None:
        pass


ALONE = Alone()


class Together:
    """One of several processes; micro-batch i of a step is that of process i modulo W.

    Parameters
    ----------
    reduce : {"ordered", "sum"}
        As `settings.Devices` says.
    """

    def __init__(self, reduce: Reduce) -> None:
        self.rank, self.count, self.reduce = dist.get_rank(), dist.get_world_size(), reduce

    def parts(self) -> slice:
        return slice(self.rank, None, self.count)

    def total(self, own: int) -> int:
        number = torch.tensor(own)
        dist.all_reduce(number)
        return int(number)

    def any(self, own: bool) -> bool:
        return any(self._told(own))

    def _told(self, own: bool) -> list[bool]:
        """What each process says. On the CPU, so that no device is waited for."""
        found = torch.empty(self.count, 1, dtype=torch.uint8)
        dist.all_gather(list(found), torch.tensor([own], dtype=torch.uint8))
        return [bool(value) for value in found]

    def add(self, vectors: Iterable[Tensor], like: Tensor) -> Tensor:
        if self.reduce == "sum":
            total = _in_order(vectors, like).contiguous()
            dist.all_reduce(total)
            return total
        return self._in_order_of_one(iter(vectors), like)

    def _in_order_of_one(self, vectors: Iterator[Tensor], like: Tensor) -> Tensor:
        """Each process adds one part of all vectors, in the order of their micro-batches.

        So a vector crosses the wire once, and the sum once; gathering all of them everywhere would
        move W times as much.
        """
        part = -(-len(like) // self.count)
        sent, received = (like.new_zeros(part * self.count) for _ in range(2))
        own: Tensor | None = None
        while any(there := self._told((vector := next(vectors, None)) is not None)):
            if vector is not None:
                sent[: len(like)] = vector
            dist.all_to_all_single(received, sent)
            for is_there, found in zip(there, received.view(self.count, part), strict=True):
                if is_there:
                    own = found.clone() if own is None else own.add_(found)
        if own is None:
            return torch.zeros_like(like)
        dist.all_gather(list(received.view(self.count, part)), own)
        return received[: len(like)]

    def add_gradients(self, weights: Sequence[nn.Parameter], losses: Iterable[Tensor]) -> Tensor:
        sizes, there = [weight.numel() for weight in weights], torch.zeros(len(weights))

        def vectors() -> Iterator[Tensor]:
            for loss in losses:
                there.add_(torch.tensor([float(weight.grad is not None) for weight in weights]))
                yield _taken(weights, loss)

        total = self.add(vectors(), weights[0].new_empty(sum(sizes) + 1))
        dist.all_reduce(there)  # on the CPU
        parts = total[:-1].split(sizes)
        for weight, one, is_there in zip(weights, parts, there.tolist(), strict=True):
            # A tensor of its own, as one process has it: norms of views may be added otherwise.
            weight.grad = one.view_as(weight).clone() if is_there else None
        return total[-1]

    def require_equal(self, weights: Iterable[Tensor]) -> None:
        sums = [weight.detach().view(torch.int32).sum(dtype=torch.int64) for weight in weights]
        own = torch.stack(sums).cpu()
        found = own.new_empty(self.count, len(own))
        dist.all_gather(list(found), own)
        differ = int((found != own).any(0).sum())
        if self.any(differ > 0):
            raise ValueError(
                f"expected equal weights at all {self.count} processes, found "
                f"{counted(differ, 'array')} of other numbers; their devices compute "
                "differently: name devices of one model"
            )


def _in_order(values: Iterable[Tensor], like: Tensor) -> Tensor:
    total: Tensor | None = None
    for value in values:
        total = value.clone() if total is None else total.add_(value)
    return torch.zeros_like(like) if total is None else total


def _taken(weights: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
    """A micro-batch's gradients and its loss as one vector; no gradient is left."""
    rows = []
    for weight in weights:
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        rows.append(gradient.flatten())
        weight.grad = None
    return torch.cat([*rows, loss.detach().view(1)])


@contextmanager
def joined(
    meeting: Path, rank: int, count: int, device: torch.device, reduce: Reduce
) -> Iterator[Together]:
    """Meet the others; the block is left together.

    Parameters
    ----------
    meeting : Path
        A file that all processes reach, new for each meeting: no port is opened for it.
    rank, count : int
    device : torch.device
        Of this process.
    reduce : {"ordered", "sum"}

    Yields
    ------
    Together
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=dist.FileStore(str(meeting), count),  # type: ignore[attr-defined]
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
        device_id=device if on_gpu else None,
    )
    try:
        yield Together(reduce)
    finally:
        dist.destroy_process_group()
