"""A reader sees the old content or the new, never a part, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from child_process import environment
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.files import (
    atomic_folder,
    atomic_path,
    bound_log,
    lone_writer,
    require_own_table,
    write_private,
)

Atomic = Callable[[Path], AbstractContextManager[Path]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_last_content_wins_and_nothing_else_stays(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("files")
    for content in contents:
        with atomic_path(folder / "state") as temporary:
            temporary.write_bytes(content)
    assert (folder / "state").read_bytes() == contents[-1]
    assert names(folder) == ["state"]


def test_name_may_be_a_string_and_folders_are_made(tmp_path):
    with atomic_path(str(tmp_path / "a" / "b" / "state.txt")) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "b" / "state.txt").read_text() == "new"


def test_old_content_is_visible_until_the_end(tmp_path):
    target = tmp_path / "state"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent  # a rename is one step only within a file system
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "state"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half-way"), atomic_path(target) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half-way")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["state"]


def test_failure_of_a_first_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "state") as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_writing_nothing_leaves_the_old_file(tmp_path):
    (tmp_path / "state").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "state"):
        pass
    assert (tmp_path / "state").read_text() == "old"


def test_two_writers_do_not_touch_each_other(tmp_path):
    target = tmp_path / "state"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last
    assert names(tmp_path) == ["state"]


def test_folder_appears_whole(tmp_path):
    target = tmp_path / "runs" / "step-00000100"
    with atomic_folder(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "weights").write_bytes(b"w")
        (temporary / "deep" / "buffers").write_bytes(b"b")
        assert not target.exists()
    assert (target / "weights").read_bytes() == b"w"
    assert (target / "deep" / "buffers").read_bytes() == b"b"
    assert names(target.parent) == ["step-00000100"]


def test_failure_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "step") as temporary:
        (temporary / "weights").write_bytes(b"w")
        raise RuntimeError("half-way")
    assert names(tmp_path) == []


def test_existing_folder_is_kept_and_named(tmp_path):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "weights").write_bytes(b"old")
    message = "expected a new folder name, found that 'step' exists; choose another name or remove"
    with pytest.raises(FileExistsError, match=message), atomic_folder(tmp_path / "step"):
        pass
    assert (tmp_path / "step" / "weights").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_disk_holds_content_before_the_rename_and_the_name_after_it(
    tmp_path, monkeypatch, kind: str
):
    """A power cut cannot be made here, so the order of what is asked of the disk is looked at."""
    asked = []
    sync, replace, rename = os.fsync, os.replace, os.rename

    def spy_sync(descriptor: int) -> None:
        asked.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def spy_rename(move):
        def renamed(source, target):
            asked.append("rename")
            move(source, target)

        return renamed

    monkeypatch.setattr(os, "fsync", spy_sync)
    monkeypatch.setattr(os, "replace", spy_rename(replace))
    monkeypatch.setattr(os, "rename", spy_rename(rename))
    if kind == "file":
        with atomic_path(tmp_path / "state") as temporary:
            temporary.write_text("new")
        assert asked == [temporary.name, "rename", tmp_path.name]
    else:
        with atomic_folder(tmp_path / "state") as temporary:
            (temporary / "weights").write_bytes(b"w")
        assert asked == ["weights", temporary.name, "rename", tmp_path.name]


# ---- kill -9: no `finally` runs, so only the order of writing and renaming protects the reader.

HALF_WAY = """
import sys, time
from brainjepa_core.files import (
    atomic_folder,
    atomic_path,
    bound_log,
    require_own_table,
    write_private,
)
writer = {"file": atomic_path, "folder": atomic_folder}[sys.argv[1]]
with writer(sys.argv[2]) as temporary:
    (temporary if sys.argv[1] == "file" else temporary / "weights").write_bytes(b"ne")
    print("half-way", flush=True)
    time.sleep(60)
"""

FOR_EVER = """
import itertools, sys
from brainjepa_core.files import atomic_path
print("started", flush=True)
for number in itertools.count():
    with atomic_path(sys.argv[1]) as temporary:
        with temporary.open("wb") as file:
            for _ in range(64):
                file.write(bytes([number % 256]) * 1024)
                file.flush()
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Run `program` and return once it has printed its first line."""
    variables = environment()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in ("half-way", "started")
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize(("kind", "writer"), [("file", atomic_path), ("folder", atomic_folder)])
def test_killed_half_way(tmp_path, kind: str, writer: Atomic):
    target = tmp_path / "state"
    if kind == "file":
        target.write_bytes(b"old")
    kill(start(HALF_WAY, kind, str(target)))

    if kind == "file":
        assert target.read_bytes() == b"old"
    else:
        assert not target.exists()
    left = [name for name in names(tmp_path) if name != "state"]
    assert len(left) == 1 and left[0].startswith(".state.") and left[0].endswith(".tmp")

    with writer(target) as temporary:  # what the killed writer left does not hinder the next one
        (temporary if kind == "file" else temporary / "weights").write_bytes(b"new")
    assert (target if kind == "file" else target / "weights").read_bytes() == b"new"


def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    target = tmp_path / "state"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"\xff" * 64 * 1024)
    for delay in (0.0, 0.003, 0.01, 0.03, 0.05):
        process = start(FOR_EVER, str(target))
        time.sleep(delay)
        kill(process)
        content = target.read_bytes()
        assert len(content) == 64 * 1024
        assert len(set(content)) == 1


@pytest.mark.parametrize(
    "content", [b"participant_id\tage\nsub-1\t30\n", b"", b"\xff\xfe", b"file\tmend\textra\n"]
)
def test_a_table_of_somebody_else_is_not_replaced(tmp_path, content):
    path = tmp_path / "participants.tsv"
    require_own_table(path, ("file", "mend"))
    path.write_bytes(b"file\tmend\nolder\trow\n")
    require_own_table(path, ("file", "mend"))
    path.write_bytes(content)
    text = (
        "expected a new file, or the table that this command wrote before, found another "
        "'participants.tsv'; give another --out"
    )
    with pytest.raises(FileExistsError, match=text):
        require_own_table(path, ("file", "mend"))
    assert path.read_bytes() == content


def test_a_log_that_grows_is_begun_anew_while_it_is_written_and_the_last_one_is_kept(tmp_path):
    log = tmp_path / "program.log"
    with log.open("ab", buffering=0) as program:  # as a program holds it
        for number in range(100):
            program.write(f"line {number:03d}\n".encode())
            bound_log(log, 100)
            there = [path.stat().st_size for path in tmp_path.iterdir()]
            assert max(there) <= 109 and len(there) <= 2
    kept = (tmp_path / "program.log.old").read_text() + log.read_text()
    lines = kept.splitlines()
    assert lines == [f"line {number:03d}" for number in range(100 - len(lines), 100)]
    assert len(lines) > 11 and not bound_log(tmp_path / "none.log", 100)


def test_what_is_private_is_its_owners_alone(tmp_path):
    write_private(tmp_path / "secret", b"a")
    write_private(tmp_path / "secret", b"b")
    assert (tmp_path / "secret").read_bytes() == b"b"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_lock_says_who_holds_it_and_whoever_is_gone_holds_it_no_more(tmp_path):
    lock = tmp_path / "lock"
    lock.write_bytes(b" (process 1 of\xff a machine that went down)")
    with lone_writer(lock, "into", wait=False):
        told = f"(process {os.getpid()} of {socket.gethostname()})"
        assert lock.read_text() == f" {told}"
        refused = pytest.raises(BlockingIOError, match=re.escape(f"at work there {told}; wait"))
        with refused, lone_writer(lock, "into", wait=False):
            pass
    assert lock.read_bytes() == b""


def test_a_lock_holds_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "getpid", full)
    with lone_writer(tmp_path / "lock", "into", wait=False):
        refused = pytest.raises(BlockingIOError, match="another command at work there; wait until")
        with refused, lone_writer(tmp_path / "lock", "into", wait=False):
            pass
