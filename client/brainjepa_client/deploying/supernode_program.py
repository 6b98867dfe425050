"""The SuperNode's process: Flower's own, which looks for a message sooner where one is likely.

Flower's waits three seconds between two looks. The steps of a round follow one another within
tenths of a second, so that a site would spend a round of secure sums, with five messages, waiting.
Here it looks soon after each answer, then ever more seldom, until it is at Flower's pace.

``python -m brainjepa_client.deploying.supernode_program``, with the options of
``flower-supernode``.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

from flwr.supernode import start_client_internal
from flwr.supernode.cli import flower_supernode

SOONEST = 0.25  # seconds until the first look after an answer
GROWTH = 1.5  # from one look to the next
LOOK = 3.0  # Flower's seconds between looks for a message; its shorter waits are for this machine
AT_HAND = 0.05  # seconds between looks whether this machine's worker has answered


class Pauses:
    """Stands in for the module ``time`` where Flower's SuperNode waits.

    Parameters
    ----------
    wait : callable, optional
        That waits so many seconds.
    """

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        self._wait, self._next = wait, SOONEST

    def sleep(self, seconds: float) -> None:
        """Wait as long as it pays, and no longer than Flower would."""
        if seconds < LOOK:  # a message is here: the next one may follow its answer at once
            self._next = SOONEST
            self._wait(min(seconds, AT_HAND))
            return
        self._wait(min(seconds, self._next))
        self._next = min(seconds, self._next * GROWTH)


def main() -> None:
    """Run until SIGTERM, with the options of the command line."""
    start_client_internal.time = Pauses()  # type: ignore[assignment, attr-defined]
    try:
        flower_supernode()
    except (Exception, KeyboardInterrupt):
        # Whoever is turned away interrupts this process, its look for messages and its heartbeat
        # alike; the second interrupts the farewell, and threads are left that nobody ends.
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main()
