"""A site's several devices train a round together, in a process each.

``python -m brainjepa_client.computing.together FOLDER`` is one of the processes. The worker that
asks waits for the first one's answer; where it is stopped or killed, they end after the step at
hand, and the state of the round before stays.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import torch

from brainjepa_client.computing.exchange import Exchange, JobFailed, new_exchange, open_exchanges
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.pretraining.parallel.launching import (
    TICK,
    LaunchFailed,
    launched,
    wait_until_over,
)
from brainjepa_core.wire.messages import Reply, Request

FOLDER = "site.processes"  # no study's folder has a dot in its name


def trained_together(settings: SiteSettings, request: Request, store: str) -> Reply:
    """Have a process for each of the site's devices train a round.

    Parameters
    ----------
    settings : SiteSettings
        With several devices.
    request : Request
    store : str
        Fingerprint of the store from which it may be answered.

    Raises
    ------
    Refusal
        If they refuse, end without an answer or do not begin in time, or the site is stopped. They
        are over then; the same question asked again goes on.
    """
    place = settings.state.absolute() / FOLDER
    _end_left_over(place)
    exchange = new_exchange(place, request)
    places = {name: getattr(settings, name).absolute() for name in ("store", "state")}
    threads = _threads(settings)
    own = settings.model_copy(update={**places, "prepare": None, "threads": threads})
    exchange.ask(own, request, store)
    program = ["-m", "brainjepa_client.computing.together", str(exchange.folder)]
    try:
        with launched(own, program, exchange.folder, exchange.log, threads) as launch:
            while (reply := exchange.reply()) is None:
                require_going_on()
                launch.require_at_work()
                time.sleep(TICK)
    except JobFailed as error:
        text = f"the site failed in {request.kind} ({error}); see its own log"
        raise Refusal(text) from ValueError(f"'{exchange.log}' has the error in full")
    except LaunchFailed as error:
        raise Refusal(
            "this site's processes have ended without an answer, or did not begin; the state of "
            "the round before is kept: ask again, or ask its manager to look at its log"
        ) from ValueError(f"{error}; see '{exchange.log}'")
    finally:
        exchange.close()
    return reply


def _threads(settings: SiteSettings) -> int:
    """Of each process: as the site says, or its part of what this one has."""
    return settings.threads or max(1, torch.get_num_threads() // settings.processes)


def _end_left_over(place: Path) -> None:
    """Wait until processes that nobody waits for any more, since a worker was killed, are over."""
    for exchange in open_exchanges(place):
        wait_until_over(exchange.folder, require_going_on)
        exchange.close()


def _main(folder: Path) -> int:
    from brainjepa_client.computing.answered import answer  # which answers by this module, too
    from brainjepa_core.pretraining.parallel.member import one_of

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return answer(Exchange(folder), stop, partial(one_of, folder))


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
