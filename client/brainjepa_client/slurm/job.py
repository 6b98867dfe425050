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
from pathlib import Path

from brainjepa_client.computing.answered import answer
from brainjepa_client.computing.exchange import Exchange


def main(folder: Path) -> int:
    """Answer the question of a folder until SIGTERM."""
    stop, exchange = threading.Event(), Exchange(folder)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if "SLURM_JOB_ID" in os.environ:  # of a worker that was killed before it could note it
        exchange.note_job(os.environ["SLURM_JOB_ID"])
    return answer(exchange, stop)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
