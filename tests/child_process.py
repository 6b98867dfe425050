"""The environment of a program that a test starts: it imports what the test imports."""

from __future__ import annotations

import os
import sys


def environment(**variables: str) -> dict[str, str]:
    """This process' environment, where Python finds modules as here, and some variables more."""
    path = os.pathsep.join(folder for folder in sys.path if folder)
    return {**os.environ, "PYTHONPATH": path, **variables}
