"""How long the SuperNode's process waits before it looks for a message."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

from flwr.supernode import start_client_internal

from brainjepa_client.deploying.supernode_program import AT_HAND, LOOK, SOONEST, Pauses, main


def test_it_looks_soon_after_an_answer_and_at_flowers_pace_in_the_end():
    waited: list[float] = []
    pauses = Pauses(waited.append)
    for _ in range(20):
        pauses.sleep(LOOK)
    assert waited[0] == SOONEST and waited == sorted(waited) and waited[-1] == LOOK
    # What the coordinator is asked beside Flower's own looks, an answer.
    assert len([pause for pause in waited if pause < LOOK]) <= 7
    pauses.sleep(0.5)  # a message came, and is answered
    pauses.sleep(LOOK)
    assert waited[-2:] == [AT_HAND, SOONEST]


def test_it_never_waits_longer_than_flower_would():
    waited: list[float] = []
    pauses = Pauses(waited.append)
    asked = [3.0] * 12 + [0.01, 3.0, 0.5]
    for seconds in asked:
        pauses.sleep(seconds)
    assert all(own <= flowers for own, flowers in zip(waited, asked, strict=True))


def test_flowers_supernode_waits_by_no_other_means():
    """Of ``time``, its module uses ``sleep``, and for the look of `LOOK` seconds alone so long."""
    tree = ast.parse(inspect.getsource(start_client_internal))
    used = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    ]
    assert used and {node.attr for node in used} == {"sleep"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func in used]
    assert sorted(call.args[0].value for call in calls) == [0.5, 0.5, LOOK]


def test_the_program_is_flowers_with_these_pauses(monkeypatch):
    seen = []
    monkeypatch.setattr(start_client_internal, "time", start_client_internal.time)
    monkeypatch.setattr(
        "brainjepa_client.deploying.supernode_program.flower_supernode",
        lambda: seen.append(type(start_client_internal.time)),
    )
    main()
    assert seen == [Pauses]


_INTERRUPTED = """
import os, signal, threading
from brainjepa_client.deploying import supernode_program

def again(*_):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)

def turned_away_twice():
    threading.Thread(target=threading.Event().wait).start()  # as the server that workers ask
    signal.signal(signal.SIGINT, again)
    os.kill(os.getpid(), signal.SIGINT)

supernode_program.flower_supernode = turned_away_twice
supernode_program.main()
"""


def test_who_is_turned_away_twice_at_a_time_ends():
    """A process that lives on without its main thread would answer nobody, and be left so."""
    command = [sys.executable, "-c", _INTERRUPTED]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "KeyboardInterrupt" in ended.stderr
