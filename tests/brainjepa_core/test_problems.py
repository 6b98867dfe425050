"""Errors in words: no reader of a message has to know Python."""

from __future__ import annotations

import errno
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from brainjepa_core.files import atomic_folder, atomic_path, room_for
from brainjepa_core.problems import counted, found_value, plainly, rounded_down, value_in_words


def raised(make) -> Exception:
    with pytest.raises(Exception) as caught:
        make()
    return caught.value


def test_what_reading_raises_is_told_in_words(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n "b"}')
    (tmp_path / "latin.txt").write_bytes(b"\xe4")
    (tmp_path / "a.npz").write_text("PK or not")
    for make, words in (
        (lambda: (tmp_path / "none").read_text(), "no such file"),
        (lambda: tmp_path.read_text(), "a folder"),
        (lambda: (tmp_path / "a.json" / "b").read_text(), "a file where a folder should be"),
        (lambda: (tmp_path / "latin.txt").read_text("utf-8"), "bytes that are not text in UTF-8"),
        (lambda: json.loads((tmp_path / "a.json").read_text()), "damaged JSON (line 2)"),
        (lambda: zipfile.ZipFile(tmp_path / "a.npz"), "no zip archive, or a damaged one"),
        (lambda: {}["a"], "a part missing"),
        (lambda: (tmp_path / "none").rmdir(), "no such file"),
        (
            lambda: (tmp_path / ("a" * 999)).read_text(),
            "that the disk does not give it (file na",
        ),
        (lambda: float("x"), "damage, or another format"),
    ):
        found = raised(make)
        assert plainly(found).startswith(words)
        assert type(found).__name__ not in plainly(found) and str(tmp_path) not in plainly(found)
    assert plainly(PermissionError(errno.EACCES, "Permission denied")) == "no permission to open it"


def test_values_in_words():
    values = [{}, [], "", True, 1, 1.5, None, b""]
    assert [value_in_words(value) for value in values] == [
        "fields with values",
        "a list",
        "a text",
        "true or false",
        "a number",
        "a number",
        "nothing",
        "something else",
    ]


def test_one_and_several():
    assert [counted(number, "scan") for number in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]
    assert [counted(number, "person", "people") for number in (1, 2)] == ["1 person", "2 people"]


def test_counts_are_told_rounded_down():
    assert [rounded_down(number, 10) for number in (0, 9, 10, 25)] == [0, 0, 10, 20]
    assert rounded_down(np.array([9, 19, 7]), 5).tolist() == [5, 15, 5]


def test_values_as_a_file_writes_them():
    found = [found_value(value) for value in ("a", 1.5, True, None, Path("/a b"), [1])]
    assert found == ["'a'", "1.5", "true", "nothing", "'/a b'", "a list"]


def fill_text():
    with open("/dev/full", "w") as file:
        file.write("a" * 9999)


def fill_numpy():
    with open("/dev/full", "wb") as file:
        np.save(file, np.zeros(99999))


def fill_tensors():
    # safetensors renames into place, which would replace the device: its error, word for word
    raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")


@pytest.mark.parametrize("write", [fill_text, fill_numpy, fill_tensors])
def test_a_full_disk_is_told_whoever_wrote(tmp_path, write):
    assert plainly(raised(write)) == "a full disk"
    kept = tmp_path / "before"
    kept.write_text("kept")
    path = tmp_path / "file"
    for making in (atomic_path, atomic_folder, room_for):

        def make(making=making):
            with making(path):
                write()

        found = raised(make)
        assert isinstance(found, OSError) and found.errno == errno.ENOSPC
        assert found.strerror == (
            f"expected room for '{path}', found a full disk (or a quota); what was finished before "
            "it is kept: make room, and run the same command again"
        )
        assert pickle.loads(pickle.dumps(found)).strerror == found.strerror
        assert list(tmp_path.iterdir()) == [kept]  # nothing half


def test_other_errors_of_a_write_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError), room_for(tmp_path):
        raise KeyError("a")
