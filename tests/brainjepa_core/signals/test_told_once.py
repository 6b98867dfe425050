"""What is met with every question of a study is told once."""

from __future__ import annotations

from brainjepa_core.signals.told_once import log_of_once


def test_each_text_is_told_once(caplog):
    log = log_of_once("brainjepa_core.signals.some_module")
    for scan in ("a", "b", "a", "a"):
        log.warning("left out: %s", scan)
    assert caplog.messages == ["left out: a", "left out: b"]
