"""Which of several processes that answer together writes, and what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from small_sites import ask_round, make_site

from brainjepa_client.computing import answered
from brainjepa_client.computing.exchange import Exchange, JobFailed, new_exchange
from brainjepa_core.pretraining.parallel.processes import Alone
from brainjepa_core.signals.storing.store import ScanStore

MINUTES = "this site's policy allows 1e-09 minutes a round (policy.max_minutes_a_round)"


class OneOfTwo(Alone):
    """The first or second of two processes, of which the other one wants to end."""

    count = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def parts(self) -> slice:
        return slice(self.rank, None, self.count)

    def any(self, own: bool) -> bool:
        return True


@pytest.fixture
def asked(stores, start, tmp_path) -> Callable[[float], Exchange]:
    def ask(minutes: float) -> Exchange:
        settings = make_site(stores[0], tmp_path, max_minutes_a_round=minutes).settings
        request = ask_round(0, start)
        exchange = new_exchange(tmp_path / "questions", request)
        exchange.ask(settings, request, ScanStore.open(stores[0]).fingerprint)
        return exchange

    return ask


def answer_as(exchange: Exchange, rank: int) -> int:
    @contextmanager
    def member(settings):
        yield OneOfTwo(rank), settings

    return answered.answer(exchange, threading.Event(), member)


@pytest.mark.parametrize("rank", [0, 1])
def test_who_has_the_reason_says_it_whichever_it_is(asked, rank):
    exchange = asked(1e-9)
    assert answer_as(exchange, rank) == 0
    assert exchange.reply().refusal.startswith(MINUTES)


@pytest.mark.parametrize("rank", [0, 1])
def test_who_ends_because_another_one_has_to_writes_nothing(asked, rank):
    exchange = asked(1000.0)
    assert answer_as(exchange, rank) == 0
    assert exchange.reply() is None


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (torch.OutOfMemoryError("no room"), True),
        (KeyError("a defect"), True),
        (RuntimeError("Connection closed by peer"), False),
        (dist.DistBackendError("NCCL error"), False),
    ],
)
def test_errors_are_told_but_for_what_the_loss_of_another_process_brings(
    asked, monkeypatch, error, is_told
):
    def fail(*_) -> None:
        raise error

    monkeypatch.setattr(answered, "computed", fail)
    exchange = asked(1000.0)
    assert answer_as(exchange, 0) == 1
    if is_told:
        with pytest.raises(JobFailed, match=type(error).__name__):
            exchange.reply()
    else:
        assert exchange.reply() is None
