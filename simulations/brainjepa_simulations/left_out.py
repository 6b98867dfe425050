"""Whose scans a study on this machine leaves out: told once, before it begins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from brainjepa_core.command.command_log import logger
from brainjepa_core.problems import counted
from brainjepa_core.signals.people import LeftOut, in_short
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import __name__ as WINDOWS
from brainjepa_simulations.scenario import Scenario


def tell_left_out(
    scenario: Scenario, stores: Sequence[ScanStore], say: Callable[[str], None]
) -> None:
    """Say in few lines how many scans of all sites are left out; each is a line with --verbose."""
    people_of = scenario.study.pretraining.people_of
    by_site: list[Sequence[LeftOut]] = [people_of([store])[1] for store in stores]
    gone = [scan for site in by_site for scan in site]
    for scan in gone:
        logger.debug("left out: %s", scan)
    sites = counted(sum(bool(site) for site in by_site), "site")
    for line in in_short(gone):
        say(f"left out, at {sites}: {line} (each is in site-state/SITE/log.txt)")


@contextmanager
def told_already() -> Iterator[None]:
    """Windows say nothing of scans that are left out."""
    log = logging.getLogger(WINDOWS)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
