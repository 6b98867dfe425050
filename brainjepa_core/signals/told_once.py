"""Loggers that tell each text once, for what is met again with every question of a study."""

from __future__ import annotations

import logging


class Once(logging.Filter):
    """Lets each text through once."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_new = text not in self._told
        self._told.add(text)
        return is_new


def log_of_once(name: str) -> logging.Logger:
    """The logger of a module whose texts are each told once."""
    log = logging.getLogger(name)
    log.addFilter(Once())
    return log
