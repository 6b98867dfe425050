"""One question of a folder, answered by another process than the site's worker as it would itself.

Whether the question may be answered was judged before; what is here is the computation.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch.distributed as dist

from brainjepa_client.computing.exchange import Exchange
from brainjepa_client.computing.kinds import computed, people_of
from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.stopping import RefusedElsewhere, stopping_when
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.machine.devices import require_device
from brainjepa_core.machine.processors import use_threads
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import Reply

STOPPED = 75  # exit code of what did not fail, and has not ended (EX_TEMPFAIL)
CHANGED = (
    "the store of this site has changed while its job waited; ask again, and if the contract is "
    "refused then, ask its manager for a new approval"
)
Member = Callable[[SiteSettings], AbstractContextManager[tuple[Processes, SiteSettings]]]


@contextmanager
def _alone(settings: SiteSettings) -> Iterator[tuple[Processes, SiteSettings]]:
    require_device(settings.device)
    yield ALONE, settings


def answer(exchange: Exchange, stop: threading.Event, member: Member = _alone) -> int:
    """Answer the question of a folder; the exit code.

    Parameters
    ----------
    exchange : Exchange
    stop : threading.Event
        Once it is set, the answer ends after the step at hand.
    member : callable
        Makes this process one of those that answer together, of which the first one writes.
    """
    try:
        settings, request, judged = exchange.question()
        print(f"{request.kind} of study '{request.assignment.study_id}'", flush=True)
        with member(settings) as (processes, own), stopping_when(stop.is_set):
            use_threads(own.threads)
            store = ScanStore.open(own.store)
            if store.fingerprint != judged:
                raise Refusal(CHANGED)
            is_private = request.assignment.privacy is not None
            # By the settings of all: what decides on noise is the same at each process.
            private = PrivateRound.of(settings, request, store) if is_private else None
            people = people_of(settings, store, request.assignment)
            reply = computed(own, people, request, private, processes)
            is_first = processes.rank == 0
    except RefusedElsewhere as refusal:
        print(refusal, flush=True)
        return 0
    except Refusal as refusal:
        if stop.is_set():  # who asks knows why
            print("stopped after the step at hand", flush=True)
            return STOPPED
        print(f"refused: {refusal}", flush=True)
        reply, is_first = Reply(refusal=str(refusal)), True  # whoever has the reason says it
    except Exception as error:
        traceback.print_exc()  # into the log, which stays at the site
        # What one of several meets where another has died says nothing of what has happened.
        if member is _alone or not _is_of_others(error):
            exchange.fail(error)
        return 1
    if is_first:
        exchange.answer(reply)
        print("answered", flush=True)
    return 0


def _is_of_others(error: Exception) -> bool:
    """Whether it is what torch.distributed says of a lost process; out of memory is a subclass."""
    return type(error) is RuntimeError or isinstance(error, dist.DistError)
