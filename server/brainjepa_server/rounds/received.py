"""What the coordinator received, a line an answer, chained (`brainjepa_core.chained_log`).

A line is on disk before what it tells of is used; an answer that did not come is a line with the
reason. Lines hold names and sizes, no numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.chained_log import ChainedLog
from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import told_round
from brainjepa_server.combining.validation import LONGEST_REFUSAL, safe

RECEIVED = "received.jsonl"
MASKED = "masked"  # the step of a secure sum in which numbers come


class ReceivedLog:
    """The log of a study.

    Parameters
    ----------
    folder : Path
        The study's.
    study : str
    """

    def __init__(self, folder: Path, study: str) -> None:
        self.log, self.study = ChainedLog(folder / RECEIVED), study

    def note(
        self,
        site: str,
        kind: str,
        number: int,
        arrays: Mapping[str, int],
        refusal: str,
        step: str = "",
    ) -> None:
        """Write down an answer.

        Parameters
        ----------
        site : str
            As the coordinator calls it.
        kind : str
            Of the request.
        number : int
            Of the round, from 0 as messages count.
        arrays : mapping of str to int
            Bytes of each array, by the name that the site gave it.
        refusal : str
            Of the site, or why there is no answer; empty otherwise.
        step : str
            Of a secure sum, that was answered.
        """
        self.log.append(
            {
                "study": self.study,
                "site": site,
                "kind": kind,
                "step": step,
                "round": told_round(number),
                "arrays": {safe(name): size for name, size in arrays.items()},
                "refusal": safe(refusal, LONGEST_REFUSAL),
            }
        )


def line_in_words(line: Mapping[str, Any]) -> str:
    """A line of the log for people."""
    kind = line["kind"]
    if line["step"]:
        masked = " (under masks)" if line["step"] == MASKED else ""
        kind = f"step '{line['step']}'{masked} of the secure sum of {kind}"
    what = (
        f"{line['time']}  {line['site']}: {kind} of study '{line['study']}', round {line['round']}"
    )
    if line["refusal"]:
        return f"{what}: {line['refusal']}"
    arrays = line["arrays"]
    return f"{what}: {counted(len(arrays), 'array')} of {sum(arrays.values())} bytes"
