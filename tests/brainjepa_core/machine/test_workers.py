"""Work in several processes: order, memory, death."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_process import environment

from brainjepa_core.machine.workers import AHEAD, THREADS, in_order

PATIENCE = 60.0


def ten_times(number: int) -> int:
    return number * 10


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_items(processes):
    assert list(in_order(ten_times, range(7), processes)) == [0, 10, 20, 30, 40, 50, 60]


def test_no_more_items_are_taken_than_can_be_held():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = in_order(ten_times, items(), 2)
    assert next(results) == 0 and len(taken) <= AHEAD * 2
    results.close()


def threads_of_a_product(_: int) -> list[int]:
    """Threads of each library of linear algebra, some of which nobody has loaded before."""
    import torch
    from threadpoolctl import threadpool_info

    return [*(library["num_threads"] for library in threadpool_info()), torch.get_num_threads()]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread anyway")
def test_a_process_has_one_thread_of_linear_algebra_also_of_what_it_loads_later():
    """Else two processes are slower than one, and a product has other last bits than alone."""
    program = (
        "import json; from test_workers import in_order, threads_of_a_product\n"
        "if __name__ == '__main__':\n"
        "    print(json.dumps([*in_order(threads_of_a_product, range(2), 2)]))\n"
    )
    told = environment()
    told["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), told["PYTHONPATH"]])
    told = {name: value for name, value in told.items() if name not in THREADS}
    found = subprocess.run(
        [sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True
    )
    assert {count for threads in json.loads(found.stdout) for count in threads} == {1}


def test_work_that_is_not_wanted_any_more_is_cut_short(tmp_path):
    results = in_order(report_and_wait_but_first, [tmp_path / name for name in "abcd"], 2)
    assert next(results) is None  # the first is done, others are under way or about to be
    assert multiprocessing.active_children()
    results.close()
    assert multiprocessing.active_children() == []


def report_and_wait_but_first(path: Path) -> None:
    if path.name != "a":
        time.sleep(PATIENCE)  # far longer than the test: it is killed in the meantime


def command_of(work: str, items: str, folder: Path) -> subprocess.Popen:
    """A program, in a group of its own, that has two processes do some work of this file."""
    script = folder / "command.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "from brainjepa_core.machine.workers import in_order\n"
        f"from test_workers import {work}\n"
        "if __name__ == '__main__':\n"
        f"    list(in_order({work}, {items}, 2))\n"
    )
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)], env=environment(),
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_the_last_item_is_cut_short_by_ctrl_c(tmp_path):
    command = command_of(
        "report_and_finish", "[Path(sys.argv[1]) / name for name in 'ab']", tmp_path
    )
    try:
        wait_until((tmp_path / "a.finished").exists)
        wait_until((tmp_path / "b.begun").exists)
        command.send_signal(signal.SIGINT)
        _, told = command.communicate(timeout=PATIENCE / 8)
    finally:
        command.kill()
        command.wait(PATIENCE)
    assert "KeyboardInterrupt" in told and not (tmp_path / "b.finished").exists()


def report_and_finish(path: Path) -> None:
    path.with_suffix(".begun").touch()
    if path.name != "a":
        time.sleep(PATIENCE / 4)  # long enough to be killed in
    path.with_suffix(".finished").touch()


def test_a_killed_process_is_told_and_what_came_before_stays():
    results = []
    with pytest.raises(
        ValueError,
        match="expected 2 processes to work to the end, found one killed, mostly for want of mem",
    ):
        results.extend(in_order(die, range(6), 2))
    assert results in ([], [0], [0, 1])


def test_nobody_outlives_a_killed_command(tmp_path):
    command = command_of("report_and_wait", "[sys.argv[1]] * 2", tmp_path)
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        command.kill()
        command.wait(PATIENCE)
    workers = [int(file.stem) for file in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(is_alive(worker) for worker in workers))


def report_and_wait(folder: str) -> None:
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(PATIENCE)  # far longer than the test: it is killed in the meantime


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie has ended; nobody has asked for its exit status


def wait_until(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
