"""What the coordinator sees while a study runs: who is there, the round, each site's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from brainjepa_core.command.waiting import waiting
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.problems import counted, listed
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_server.combining.consensus import Consensus
from brainjepa_server.record.attendance import SUMMED, UNCOMPARED
from brainjepa_server.record.history import RoundRecord, YardstickRow
from brainjepa_server.rounds.joining import Members
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.shown import show_report

SHOWN_REASONS = 20  # of a kind, a line each
UNJUDGED = "not in the yardstick: "

Rows = list[YardstickRow] | tuple[YardstickRow, ...]


class StudyProgress:
    """Prints a study's progress.

    Parameters
    ----------
    console : rich.console.Console
    total_rounds : int
    """

    def __init__(self, console: Console, total_rounds: int) -> None:
        self.console, self.total = console, total_rounds

    def members(self, members: Members) -> None:
        """Who takes part, and who does not and why."""
        self.console.print(
            f"{counted(len(members.nodes), 'site')}, {counted(len(members.rois), 'ROI')}: "
            f"{listed(members.nodes)}"
        )
        self._reasons("left out ", members.left_out)
        absent = sorted(set(members.roster) - members.nodes.keys() - members.left_out.keys())
        if absent:
            self.console.print(f"  not there yet: {listed(absent)}", markup=False)

    def consensus(self, found: Consensus, basis: ConsensusBasis, *, summed: bool = False) -> None:
        """The basis, and whose it is; whether single sums were not seen."""
        people = counted(found.people, "person", "people")
        told = f"consensus basis {found.basis.hash[:12]} of {people}"
        if basis.hash != found.basis.hash:
            told = f"basis {basis.hash[:12]} of the model it starts from; connectivity of {people}"
        self.console.print(told)
        self._reasons("left out ", found.left_out)
        self._reasons("counts for less: ", found.capped)
        if found.coskewness is not None:
            self._reasons("not in the sum of co-skewness: ", found.coskewness.left_out)
        if summed or not found.compared:
            self.console.print(f"  {SUMMED if summed else UNCOMPARED}", markup=False)

    def again(self, missed: Exception, left: int) -> None:
        """Why a round is tried again, and how often it still may be."""
        self.console.print(f"trying again ({left} more after it): {missed}", markup=False)

    def dropped(self, number: int, lost: Exception) -> None:
        """That a round changed nothing, since its only secure sum was lost."""
        self.console.print(f"round {number} is dropped: {lost}", markup=False)

    def stopped(self, number: int) -> None:
        """That the study was asked to stop, and where."""
        self.console.print(f"stopped after round {number} of {self.total}")

    def resumed(self, number: int) -> None:
        """Where the study goes on."""
        self.console.print(f"resuming after round {number} of {self.total}")

    def evaluated(self, model: str, rows: Rows, rejected: Mapping[str, str]) -> None:
        """A model's yardstick in one line, and whose people are not in it."""
        if rows:
            self.console.print(f"{model}: {told(rows)}")
        self._reasons(UNJUDGED, rejected)

    def _reasons(self, what: str, reasons: Mapping[str, str]) -> None:
        """A line for each site, of many for the first ones; the record has all."""
        for name, reason in list(reasons.items())[:SHOWN_REASONS]:
            self.console.print(f"  {what}{name}: {reason}", markup=False)
        if len(reasons) > SHOWN_REASONS:
            rest = counted(len(reasons) - SHOWN_REASONS, "more site")
            self.console.print(f"  {what}{rest}, each with its reason on the page", markup=False)

    @contextmanager
    def round(self, number: int, sites: int) -> Iterator[Callable[[str, str], None]]:
        """A bar over the sites of a round; yields what is called as each of them answers."""
        what = f"round {number} of {self.total}"
        with waiting(self.console, what, sites, transient=True) as work:

            def heard(site: str, reason: str) -> None:
                if not reason:
                    work.update(f"{what}: {site} answered", done=work.done + 1)
                else:
                    self.console.print(f"  left out {site}: {reason}", markup=False)

            yield heard

    def finished(self, record: RoundRecord) -> None:
        """A round in one line."""
        loss = "-" if record.loss is None else f"{record.loss:.4f}"
        line = (
            f"round {record.number:>3} of {self.total}  loss {loss}  "
            f"{counted(len(record.sites), 'site')}  {record.seconds or 0:.1f} s  "
            f"{record.bytes_up / 1e6:.1f} MB up  {told(record.yardstick)}"
        )
        self.console.print(line.rstrip())
        self._reasons("clipped: ", record.clipped)
        self._reasons("counts for less: ", record.capped)
        self._reasons(UNJUDGED, record.unjudged)

    def task(self, report: TaskReport) -> None:
        """What the sites' answers about a task come to."""
        show_report(self.console, report)


def told(rows: Rows) -> str:
    """R2 of the other half, and of outcomes from the headline pool; of whose probes."""
    known = [r for r in rows if r.r2 is not None]
    probes = [r for r in known if r.pool == HEADLINE]
    whose = "R2 of sites' own probes: " if any(r.own_probes for r in probes) else "R2: "
    parts = [
        ("R2: ", [r for r in known if r.outcome == OTHER_HALF]),
        (whose, probes),
    ]
    return "; ".join(
        what + ", ".join(f"{r.outcome} {r.r2:.3f}" for r in found) for what, found in parts if found
    )
