"""Looking at a started site from another terminal, and ending it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from brainjepa_client.deploying.run_folder import LEAVING, SENDING, STEP, RunFolder

LOOK = 0.2  # seconds between looks at whether it has ended


def status(folder: RunFolder) -> dict[str, Any]:
    """What runs of a site.

    Returns
    -------
    dict
        ``running``; where it is true also ``pid``, ``site``, ``coordinator``, ``since`` and
        ``parts``: for each program its ``state`` in words, ``pid`` and number of ``ends``.
    """
    running = folder.is_running()
    return {"running": running, **(folder.told() if running else {})}


def stop(folder: RunFolder) -> bool:
    """End a started site after the optimiser step at hand.

    Returns
    -------
    bool
        False where none ran.

    Raises
    ------
    ValueError
        If it does not end, or is another user's.
    """
    found = status(folder)
    if not found["running"]:
        return False
    until = time.monotonic() + STEP + SENDING + LEAVING + 5
    if "pid" in found:
        try:
            os.kill(found["pid"], signal.SIGTERM)
        except ProcessLookupError:  # it has just ended
            pass
        except PermissionError as error:
            raise ValueError(
                f"expected to be the user who started this site (process {found['pid']}), found "
                "another; call this as that user"
            ) from error
    while folder.is_running():
        if time.monotonic() > until:
            raise ValueError(
                f"expected the start of this site (process {found.get('pid', 'unknown')}) to end, "
                f"found it at work still; look into '{folder.folder}', and end it with force"
            )
        time.sleep(LOOK)
    return True
