"""A site whose files change in any way: its store equals one that is built anew at the end.

Files are added, corrected, broken, moved too much, taken away; people withdraw; runs are killed at
any write, or two of them start at once. Real processes (forks) do the work, and a real SIGKILL ends
them; pictures and pages alone are left out, as they take most of the time.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_client.preparing import scan as prepare_scan_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.settings import SiteSettings
from brainjepa_core import files
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing import store as store_module
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore

PEOPLE = [f"sub-0{n}" for n in range(4)]
SESSIONS = ("1", "2")
REFUSED = 7  # exit code of a run that met another one
WRITES = 60  # a run of all scans writes fewer times


class SiteFiles:
    """The files of a site of parcellated scans, and what they say, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.series = folder / "series"
        self.series.mkdir(parents=True)
        (folder / "names.txt").write_text("a\nb\nc\n")
        self.scans: dict[tuple[str, str], dict] = {}
        self.rows: dict[str, dict] = {}
        self.write_table()

    def site(self, store: str) -> SiteSettings:
        """Settings with a store of this name."""
        content = {
            "name": "one",
            "store": store,
            "state": f"{store}-state",
            "prepare": {
                "input": {"kind": "series", "folder": "series", "names": "names.txt", "tr": 2.0},
                "atlas": "rois.tsv",
                "phenotypes": ["participants.tsv"],
                "exclude": {"wrong_order": False},
                "derivatives": f"{store}-derivatives",
                "processes": 1,
            },
        }
        (self.folder / "rois.tsv").write_text("name\na\nb\nc\n")
        (self.folder / f"{store}.yaml").write_text(yaml.safe_dump(content))
        return read_settings(self.folder / f"{store}.yaml", SiteSettings)

    def path(self, person: str, session: str) -> Path:
        return self.series / f"{person}_ses-{session}_task-rest_timeseries.npy"

    def put(self, person: str, session: str, seed: int, frames: int) -> None:
        values = np.random.default_rng(seed).standard_normal((frames, 3))
        np.save(self.path(person, session), values)
        self.scans[person, session] = {"seed": seed, "frames": frames}

    def take_away(self, person: str, session: str) -> None:
        self.path(person, session).unlink()
        del self.scans[person, session]

    def write_table(self) -> None:
        lines = ["participant_id\tage\tmean_fd", "sub-unscanned\t50\tn/a"]
        lines += [f"{name}\t{row['age']}\t{row['fd']}" for name, row in self.rows.items()]
        (self.folder / "participants.tsv").write_text("\n".join(lines) + "\n")


def in_a_fork(work: Callable[[], object]) -> int:
    """Start work in a process of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BlockingIOError:
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Exit code of a fork, or minus the signal that ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def dies_at(write: int) -> None:
    """From here on this process is killed at its n-th write: before or after it, or half-way."""
    count = 0

    def counted(real: Callable) -> Callable:
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            count += 1
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    files.os.replace = counted(os.replace)
    store_module.append_line = counted(store_module.append_line)
    Path.unlink = counted(Path.unlink)


def prepare(site: SiteSettings, *, drop_gone: bool = False) -> None:
    try:
        list(Preparation.of(site, drop_gone=drop_gone).run())
    except ValueError as error:
        if "found none; correct input.folder" not in str(error):  # all files are gone
            raise


def content(site: SiteSettings) -> dict:
    """All that a store holds, and the derivatives and reports beside it."""
    if not (site.store / "store.json").exists():
        return {"scans": {}, "reports": [], "derivatives": {}}
    store = ScanStore.open(site.store)
    assert store.verify() == []
    assert len(list((site.store / ARRAYS).iterdir())) == len(store.records)
    scans = {
        r.key: (store.series(r).tobytes(), r.tr, r.qc, r.phenotypes, r.missing)
        for r in store.records
    }
    derivatives = site.preparation().derivatives
    tables = {
        str(path.relative_to(derivatives)): path.read_bytes()
        for path in derivatives.rglob("*_timeseries.*")
    }
    from brainjepa_client.preparing.scan_reports import Reports

    reports = [report.to_json() for report in Reports(site.quality).all()]
    return {"scans": scans, "reports": reports, "derivatives": tables}


class Changes(RuleBasedStateMachine):
    """Changes of files, and runs that take them up, are killed, or meet."""

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.files = SiteFiles(self.place / "site")
        for number, person in enumerate(PEOPLE[:3]):
            self.files.put(person, "1", number, 20)
            self.files.rows[person] = {"age": 20, "fd": "0.1"}
        self.files.write_table()
        self.site = self.files.site("store")
        self.withdrawn: set[str] = set()
        self.run(drop=False)

    @rule(
        person=st.sampled_from(PEOPLE), session=st.sampled_from(SESSIONS), seed=st.integers(0, 2),
        frames=st.sampled_from([20, 30]),
    )  # fmt: skip
    def put_a_scan(self, person, session, seed, frames) -> None:
        self.files.put(person, session, seed, frames)

    @rule(person=st.sampled_from(PEOPLE), session=st.sampled_from(SESSIONS))
    def break_a_scan(self, person, session) -> None:
        self.files.put(person, session, 0, 2)  # of two frames

    @precondition(lambda self: self.files.scans)
    @rule(data=st.data())
    def take_a_scan_away(self, data) -> None:
        self.files.take_away(*data.draw(st.sampled_from(sorted(self.files.scans))))

    @rule(
        person=st.sampled_from(PEOPLE), age=st.integers(20, 22),
        fd=st.sampled_from(["0.1", "n/a", "0.9"]),
    )  # fmt: skip
    def correct_a_row(self, person, age, fd) -> None:
        """0.9 mm is more than is allowed."""
        self.files.rows[person] = {"age": age, "fd": fd}
        self.files.write_table()

    @rule(person=st.sampled_from(PEOPLE))
    def take_a_row_away(self, person) -> None:
        self.files.rows.pop(person, None)
        self.files.write_table()

    @rule(drop=st.booleans())
    def run(self, drop) -> None:
        assert ended(in_a_fork(lambda: prepare(self.site, drop_gone=drop))) == 0

    @rule(write=st.integers(1, WRITES), drop=st.booleans())
    def run_and_be_killed(self, write, drop) -> None:
        def work() -> None:
            dies_at(write)
            prepare(self.site, drop_gone=drop)

        assert ended(in_a_fork(work)) in (0, -signal.SIGKILL)

    @rule()
    def run_twice_at_once(self) -> None:
        children = [in_a_fork(lambda: prepare(self.site)) for _ in range(2)]
        assert {ended(child) for child in children} <= {0, REFUSED}

    @precondition(lambda self: self.store_people() - self.withdrawn)
    @rule(data=st.data(), write=st.integers(0, WRITES))
    def withdraw(self, data, write) -> None:
        """Now and then it is killed; the person then says it again."""
        person = data.draw(st.sampled_from(sorted(self.store_people() - self.withdrawn)))

        def work() -> None:
            if write:
                dies_at(write)
            remove_person(self.site, person)

        if ended(in_a_fork(work)):
            assert ended(in_a_fork(lambda: remove_person(self.site, person))) == 0
        self.withdrawn.add(person)

    def store_people(self) -> set[str]:
        if not (self.site.store / "store.json").exists():
            return set()
        return {record.subject for record in ScanStore.open(self.site.store).records}

    def teardown(self) -> None:
        if not hasattr(self, "place"):
            return
        try:
            assert ended(in_a_fork(lambda: prepare(self.site, drop_gone=True))) == 0
            found = content(self.site)
            for person, session in list(self.files.scans):
                if person in self.withdrawn:
                    self.files.take_away(person, session)
            if self.files.scans:
                fresh = self.files.site("fresh")
                prepare(fresh)
                assert found == content(fresh)
                kept = {r.subject for r in ScanStore.open(self.site.store).records}
                assert not kept & self.withdrawn
        finally:
            shutil.rmtree(self.place)


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Pictures take most of the time of a run."""
    draw = lambda path, *_, **__: path.parent.mkdir(parents=True, exist_ok=True)  # noqa: E731
    monkeypatch.setattr(prepare_scan_module, "draw_scan", draw)


class TestSomeChanges(Changes.TestCase):
    settings = settings(
        max_examples=12,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestManyChanges(Changes.TestCase):
    settings = settings(
        max_examples=200,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
