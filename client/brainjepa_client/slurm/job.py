"""What a job runs: one question of the site's worker, answered as the worker itself would.

``python -m brainjepa_client.slurm.job FOLDER``. Whether the question may be answered was judged
before; what is here is the computation. SIGTERM, which Slurm sends at a cancellation, at the end of
the time and at preemption, ends it after the step at hand; the state of the round before stays.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from brainjepa_client.computing.kinds import computed, people_of
from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.stopping import stopping_when
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.slurm.exchange import Exchange
from brainjepa_core.devices import require_device
from brainjepa_core.processors import use_threads
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import Reply

STOPPED = 75  # exit code of what did not fail, and has not ended (EX_TEMPFAIL)
CHANGED = (
    "the store of this site has changed while its job waited; ask again, and if the contract is "
    "refused then, ask its manager for a new approval"
)


def answer(exchange: Exchange, stop: threading.Event) -> int:
    """Answer the question of a folder; the exit code."""
    try:
        settings, request, judged = exchange.question()
        print(f"{request.kind} of study '{request.assignment.study_id}'", flush=True)
        require_device(settings.device)
        use_threads(settings.threads)
        store = ScanStore.open(settings.store)
        if store.fingerprint != judged:
            raise Refusal(CHANGED)
        with stopping_when(stop.is_set):
            is_private = request.assignment.privacy is not None
            private = PrivateRound.of(settings, request, store) if is_private else None
            people = people_of(settings, store, request.assignment)
            reply = computed(settings, people, request, private)
    except Refusal as refusal:
        if stop.is_set():  # who asks learns why from Slurm
            print("stopped after the step at hand", flush=True)
            return STOPPED
        print(f"refused: {refusal}", flush=True)
        reply = Reply(refusal=str(refusal))
    except Exception as error:
        traceback.print_exc()  # into the job's log, which stays at the site
        exchange.fail(error)
        return 1
    exchange.answer(reply)
    print("answered", flush=True)
    return 0


def main(folder: Path) -> int:
    """Answer the question of a folder until SIGTERM."""
    stop, exchange = threading.Event(), Exchange(folder)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if "SLURM_JOB_ID" in os.environ:  # of a worker that was killed before it could note it
        exchange.note_job(os.environ["SLURM_JOB_ID"])
    return answer(exchange, stop)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
