"""A worker asks a job of its cluster, and waits for the answer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

from brainjepa_client.computing.exchange import (
    Exchange,
    JobFailed,
    new_exchange,
    open_exchanges,
)
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings, SlurmSettings
from brainjepa_client.slurm import jobs
from brainjepa_core.pretraining.parallel.settings import Devices
from brainjepa_core.wire.messages import Reply, Request

FOLDER = "slurm.jobs"  # no study's folder has a dot in its name
TICK, LOOK = 0.5, 10.0  # seconds between looks for the answer; at the job's state
LAG = 30.0  # seconds in which the files of another machine show here after its job's end
ENDING = 45.0  # seconds for a cancelled job to be over: Slurm's KillWait (30 s), and some
_ENDS = {  # those after which no answer comes
    "BOOT_FAIL": "since its node did not start",
    "CANCELLED": "since it was cancelled",
    "DEADLINE": "at its deadline",
    "NODE_FAIL": "since its node failed",
    "OUT_OF_MEMORY": "for want of memory",
    "PREEMPTED": "since others were preferred",
    "TIMEOUT": "at its time limit",
}
# Of the environment: where modules lie, and how linear algebra works, which decides on bits.
_CARRIED = re.compile(r"PYTHONPATH|(OMP|MKL|OPENBLAS)_\w+")
_AGAIN = "the state of the round before is kept: ask again, or ask its manager to look at its log"


def answered_in_job(settings: SiteSettings, request: Request, store: str) -> Reply:
    """Have a job answer what was judged to be answered.

    Parameters
    ----------
    settings : SiteSettings
        With ``slurm``.
    request : Request
    store : str
        Fingerprint of the store from which it may be answered.

    Raises
    ------
    Refusal
        If the job is refused, ends without an answer or does not begin in time, or the site is
        stopped. The job is over then; the same question asked again goes on.
    """
    slurm = settings.slurm
    if slurm is None:
        raise ValueError("expected a site with a section slurm, found none; add it")
    try:
        end_open_jobs(settings.state)
        exchange = new_exchange(settings.state.absolute() / FOLDER, request)
        exchange.ask(_of_the_job(settings, slurm), request, store, script_for(exchange.folder))
        number = jobs.submit(exchange.script, exchange.log, slurm.options)
        exchange.note_job(number)
    except jobs.SlurmError as error:
        raise Refusal(f"this site's cluster takes no job now; {_AGAIN}") from error
    try:
        reply = _awaited(exchange, number, slurm)
    except JobFailed as error:
        exchange.close()
        text = f"the site failed in {request.kind} ({error}); see its own log"
        raise Refusal(text) from ValueError(f"'{exchange.log}' has the error in full")
    except BaseException:
        _end(exchange)
        raise
    exchange.close()
    return reply


def end_open_jobs(state: Path) -> None:
    """End the jobs that a killed worker has left: nobody waits for their answers.

    Raises
    ------
    SlurmError
        If one goes on: two would write the same state.
    """
    for exchange in open_exchanges(state / FOLDER):
        if exchange.job is None:  # not submitted, or not begun: then it finds no question
            shutil.rmtree(exchange.folder)
        elif not _end(exchange):
            raise jobs.SlurmError(
                f"expected the earlier job {exchange.job} to end, found it at work, or no answer "
                "of Slurm; look with squeue, and end it with scancel"
            )


def script_for(folder: Path) -> str:
    """What sbatch is given: the program that is installed here, for the question of a folder."""
    around = {name: text for name, text in os.environ.items() if _CARRIED.fullmatch(name)}
    carried = [f"export {name}={shlex.quote(around[name])}" for name in sorted(around)]
    program = [sys.executable, "-m", "brainjepa_client.slurm.job", str(folder)]
    return "\n".join(["#!/bin/bash", *carried, f"exec {shlex.join(program)}\n"])


def _of_the_job(settings: SiteSettings, slurm: SlurmSettings) -> SiteSettings:
    """The site as its job sees it; how scans are prepared is of no use there."""
    own = {name: getattr(slurm, name) for name in Devices.model_fields}
    own |= {"slurm": None, "prepare": None}
    places = {name: getattr(settings, name).absolute() for name in ("store", "state")}
    return settings.model_copy(update={**own, **places})


def _awaited(exchange: Exchange, number: str, slurm: SlurmSettings) -> Reply:
    begun, looked = False, time.monotonic()
    submitted, over = looked, None
    while (reply := exchange.reply()) is None:
        require_going_on()
        now = time.monotonic()
        if over is not None and now - over[1] > LAG:
            raise _refusal(over[0], exchange)
        if over is None and now - looked > LOOK:
            looked, found = now, jobs.state_of(number)
            state, reason = found or ("", "")
            begun = begun or (found is not None and state not in jobs.WAITING)
            if found is not None and jobs.is_over(state):
                if state in _ENDS:
                    raise _refusal(state, exchange)
                over = (state, now)
            elif not begun and now - submitted > slurm.begins_within:
                raise Refusal(
                    f"this site's job has waited at its cluster for {slurm.begins_within} s, and "
                    f"has not begun; {_AGAIN}"
                ) from ValueError(f"squeue says of job {number}: {state} ({reason})")
        time.sleep(TICK)
    return reply


def _refusal(state: str, exchange: Exchange) -> Refusal:
    end = _ENDS.get(state, "without an answer")
    refusal = Refusal(f"this site's job at its cluster ended {end}; {_AGAIN}")
    refusal.__cause__ = ValueError(f"job {exchange.job} is {state}; see '{exchange.log}'")
    return refusal


def _end(exchange: Exchange) -> bool:
    """See to it that a job is over, and put its question away; False where it may go on."""
    number, until = exchange.job, time.monotonic() + ENDING
    if number is not None:
        found = jobs.state_of(number)
        if found is None or not jobs.is_over(found[0]):
            try:
                jobs.cancel(number)
            except jobs.SlurmError:
                return False
        while (found := jobs.state_of(number)) is None or not jobs.is_over(found[0]):
            if time.monotonic() > until:
                return False
            time.sleep(TICK)
    exchange.close()
    return True
