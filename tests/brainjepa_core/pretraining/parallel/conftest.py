"""Two processes that train together, once for all tests; modules of the folder above."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_process import environment

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
PATIENCE = 240  # seconds, on a busy machine


@pytest.fixture(scope="package")
def two_processes(tmp_path_factory, one_thread) -> Iterator[Path]:
    """Folder with what two processes have left of each scenario."""
    from shared_steps import PROVENANCE, trained, write_state

    from brainjepa_core.pretraining.parallel.processes import ALONE

    folder = tmp_path_factory.mktemp("two")
    training, _ = trained(ALONE, clip_norm=1.0, steps=range(2))
    write_state(folder / "alone", training, PROVENANCE)
    program = Path(__file__).with_name("shared_steps.py")
    children = [
        subprocess.Popen(
            [sys.executable, program, folder, str(rank), "2"],
            env=environment(GLOO_SOCKET_IFNAME="lo"),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for child in children:
            _, said = child.communicate(timeout=PATIENCE)
            assert child.returncode == 0, said[-3000:]
    finally:
        for child in children:
            child.kill()
            child.wait()
    yield folder
