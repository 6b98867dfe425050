"""Slurm's own commands: a job is submitted, looked at, and cancelled.

The texts of ``SlurmError`` may hold what the cluster says (accounts, nodes): they are for the
site's own eyes, and never leave.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from brainjepa_core.problems import counted

PATIENCE = 60.0  # seconds for a command of Slurm's to answer
GONE = "GONE"  # a job that Slurm remembers no more, some minutes after its end
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
_GOING_ON = WAITING | {
    "RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED",
}  # fmt: skip
_UNKNOWN_JOB = "Invalid job id specified"


class SlurmError(ValueError):
    """Slurm cannot be asked, or refuses."""


def option_words(options: Mapping[str, str | int | bool]) -> list[str]:
    """A site's options as they stand on the command line of sbatch."""
    return [f"--{n}" if value is True else f"--{n}={value}" for n, value in options.items()]


def submit(script: Path, log: Path, options: Mapping[str, str | int | bool]) -> str:
    """Submit a script; the number of its job.

    Parameters
    ----------
    script : Path
    log : Path
        What the job prints.
    options : mapping
        The site's own.

    Raises
    ------
    SlurmError
        If there is no sbatch, or it refuses.
    """
    told = _run(["sbatch", "--parsable", *_words(script, log, options)])
    number = told.strip().split(";")[0]  # "NUMBER;CLUSTER" where there are several
    if not number.isdecimal():
        raise SlurmError(
            f"expected the number of a job from sbatch, found '{told.strip()[:80]}'; look at what "
            "sbatch is on this machine"
        )
    return number


def try_out(script: Path, log: Path, options: Mapping[str, str | int | bool]) -> str:
    """What Slurm says about a job that is not submitted; errors as of `submit`."""
    return _run(["sbatch", "--test-only", *_words(script, log, options)]).strip()


def state_of(number: str) -> tuple[str, str] | None:
    """State of a job in Slurm's words, and why; None where Slurm does not answer now."""
    asked = ["squeue", f"--jobs={number}", "--states=all", "--noheader", "--format=%T|%r"]
    try:
        told = _run(asked).strip()
    except SlurmError as error:
        return (GONE, "") if _UNKNOWN_JOB in str(error) else None
    state, _, reason = told.splitlines()[0].partition("|") if told else (GONE, "", "")
    return state.strip(), reason.strip()


def is_over(state: str) -> bool:
    """Whether nothing of a job in this state runs, or will."""
    return state not in _GOING_ON


def cancel(number: str) -> None:
    """End a job: its program gets SIGTERM, and SIGKILL after the cluster's KillWait (30 s)."""
    try:
        _run(["scancel", number])
    except SlurmError as error:
        if _UNKNOWN_JOB not in str(error):
            raise


def _words(script: Path, log: Path, options: Mapping[str, str | int | bool]) -> list[str]:
    output = str(log).replace("%", "%%")  # a percent sign begins a pattern of sbatch's
    return [
        "--job-name=brainjepa",
        f"--chdir={script.parent}",
        f"--output={output}",
        "--open-mode=append",
        "--export=NONE",  # what the worker inherited is no business of other machines
        "--no-requeue",  # a job that was taken off is told, and asked for again
        *option_words(options),
        str(script),
    ]


def _run(command: Sequence[str]) -> str:
    """What a command prints, both channels; its errors as one line."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise SlurmError(
            f"expected Slurm's command {command[0]} on this machine (device: slurm), found none; "
            "start the site where jobs can be submitted, or name another device"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(
            f"expected an answer of {command[0]} within {counted(int(PATIENCE), 'second')}, found "
            "none; try again, or ask the cluster's administrators"
        ) from error
    if done.returncode:
        said = " ".join(done.stdout.split()) or f"exit code {done.returncode}"
        raise SlurmError(
            f"expected {command[0]} to take it, found that it says: {said}; correct slurm.options "
            "of the site's YAML, or ask the cluster's administrators"
        )
    return done.stdout
