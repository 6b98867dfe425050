"""A log of which each line vouches for the one before: no change in its middle stays unseen."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys

import pytest
from child_process import environment
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.chained_log import BEGIN, ChainedLog

facts = st.dictionaries(
    st.sampled_from(["kind", "round", "refusal"]),
    st.one_of(st.integers(), st.text(max_size=20)),
)


def strip(line: dict) -> dict:
    return {key: value for key, value in line.items() if key not in ("previous", "time")}


@settings(max_examples=50, deadline=None)
@given(st.lists(facts, max_size=8), st.integers(1, 40))
def test_lines_come_back_and_hash_by_hand(tmp_path_factory, told, size):
    log = ChainedLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    digests = [log.append({**line, "long": "x" * size * 300}) for line in told]
    assert [strip(line) for line in log.lines()] == [
        {**line, "long": "x" * size * 300} for line in told
    ]
    raw = log.path.read_bytes().splitlines() if told else []
    by_hand = [hashlib.sha256(line).hexdigest() for line in raw]
    assert digests == by_hand and log.head == (by_hand[-1] if by_hand else BEGIN)
    assert [json.loads(line)["previous"] for line in raw] == [BEGIN, *by_hand][: len(raw)]


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_change_before_the_last_line_names_the_line(tmp_path_factory, data):
    log = ChainedLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    for number in range(4):
        log.append({"round": number})
    lines = log.path.read_bytes().splitlines(keepends=True)
    which = data.draw(st.integers(0, 2))
    how = data.draw(st.sampled_from(["byte", "drop", "swap", "insert"]))
    if how == "byte":
        place = data.draw(st.integers(0, len(lines[which]) - 2))
        old = lines[which]
        other = data.draw(st.integers(32, 126).filter(lambda byte: byte != old[place]))
        lines[which] = old[:place] + bytes([other]) + old[place + 1 :]
    elif how == "drop":
        del lines[which]
    elif how == "swap":
        lines[which], lines[which + 1] = lines[which + 1], lines[which]
    else:
        lines.insert(which, lines[which])
    log.path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match=r"expected lines of '.*' as they were written") as error:
        list(log.lines())
    named = {
        int(text) for text in re.findall(r"\d+", str(error.value).split("found")[1].split(";")[0])
    }
    changed = which + 2 if how == "insert" else which + 1  # the first line that is another one
    assert changed in named and min(named) >= changed - 1


@pytest.mark.parametrize("torn", [b"{", b'{"previous": "', "ä".encode()[:1]])
def test_a_line_that_a_kill_has_torn_was_never_there(tmp_path, torn):
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"round": 1})
    head = log.head
    with log.path.open("ab") as file:
        file.write(torn)
    assert log.head == head and len(list(log.lines())) == 1
    log.append({"round": 2})
    assert [line["round"] for line in log.lines()] == [1, 2]


WRITER = """
import sys
from pathlib import Path
from brainjepa_core.chained_log import ChainedLog

log = ChainedLog(Path(sys.argv[1]))
print("here", flush=True)
sys.stdin.readline()
for number in range(30):
    log.append({"who": sys.argv[2], "number": number})
"""


def test_two_processes_write_one_chain(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log.jsonl")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [
        subprocess.Popen([*command, who], env=environment(), **pipes) for who in ("one", "two")
    ]
    assert [writer.stdout.readline() for writer in writers] == ["here\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    lines = list(ChainedLog(tmp_path / "log.jsonl").lines())
    for who in ("one", "two"):
        assert [line["number"] for line in lines if line["who"] == who] == list(range(30))
