from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from child_process import environment
from made_sums import Sum, name

from brainjepa_core.secure_sums.messages import ALIVE, MASKED, SHARES, UNMASK, of_sum


def test_records_and_secret_are_the_owners_alone(tmp_path):
    made = Sum(tmp_path, 3)
    made.until(MASKED)
    folder = tmp_path / name(0)
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "x": 2}'])
def test_a_damaged_record_is_no_record_of_nothing(tmp_path, content):
    """The site must not take part anew in what it may have unmasked."""
    made = Sum(tmp_path, 3)
    made.until(UNMASK)
    (record,) = (tmp_path / name(0)).rglob("*.json")
    record.write_text(content)
    with pytest.raises(
        ValueError, match=r"expected this site's record of .* the site takes no part"
    ):
        made.site(0).keys(of_sum(made.terms, {}))


def test_a_damaged_secret(tmp_path):
    made = Sum(tmp_path, 3)
    made.until(SHARES)
    (tmp_path / name(0) / "secret").write_bytes(b"short")
    with pytest.raises(ValueError, match="expected a secret of 32 bytes for secure sums, found 5"):
        made.site(0)


@pytest.mark.parametrize("step", [SHARES, MASKED, ALIVE, UNMASK])
def test_no_answer_leaves_before_it_is_written_down(tmp_path, monkeypatch, step):
    """A disk that fails at the moment of writing: nothing is answered, and nothing half-known."""
    made = Sum(tmp_path, 3)
    made.until(step)
    (record,) = (tmp_path / name(0)).rglob("*.json")
    before = record.read_text()

    def fail(*paths):
        raise OSError(5, "failed")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="failed"):
            made.answer(0)
    assert record.read_text() == before
    assert made.answer(0)
    assert step in json.loads(record.read_text())["told"]


ROUNDS = """
import sys
from pathlib import Path
from made_sums import terms
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import STEPS, as_field

memory, number = SumMemory(Path(sys.argv[1])), int(sys.argv[2])
print(memory.secret.hex(), flush=True)
while True:
    memory.begin(terms(3, round=number))
    for step in STEPS:
        memory.note(terms(3, round=number), step, {"told": as_field(step.encode() * 500)})
        print(number, step, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_kills_forget_nothing_that_was_answered(tmp_path):
    """Each line stands for an answer that left: what it was given for is on the disk."""
    answered, rng, first = [], np.random.default_rng(0), None
    for kill in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", ROUNDS, str(tmp_path), str(1000 * kill)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        secret = process.stdout.readline()
        assert first in (None, secret)
        first = secret
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        answered += [line.split() for line in process.communicate()[0].splitlines() if " " in line]
    assert len(answered) > 40
    for number, step in answered:
        found = json.loads((tmp_path / ("c" * 64) / f"train-{int(number):06d}.json").read_text())
        assert bytes.fromhex(found["told"][step]["told"]) == step.encode() * 500
