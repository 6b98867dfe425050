"""A Slurm of one machine: sbatch, squeue and scancel as they behave, for tests.

Jobs run in the background with an environment of their own, from a copy of the script, and get
SIGTERM and, KILL_WAIT later, SIGKILL when they are ended. What the real commands say where they
refuse is said here in the same words. A test steers it by files in ``CLUSTER``:

pending      no job begins
end          jobs that run end, as the text of the file says (TIMEOUT, PREEMPTED, CANCELLED ...)
down         nothing answers
forgetful    jobs that are over are not known any more
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

KILL_WAIT, TICK = 10.0, 0.05
PARTITIONS = ("gpu", "cpu")
VALUED = {
    "partition", "gres", "time", "mem", "account", "cpus-per-task", "job-name", "chdir", "output",
    "open-mode", "export",
}  # fmt: skip
FLAGS = {"parsable", "test-only", "no-requeue", "exclusive"}
ENDED = "slurm_load_jobs error: Invalid job id specified"
DOWN = "Unable to contact slurm controller (connect failure)"


class Cluster:
    """The folder of a cluster, and what a test asks of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, path: Path) -> None:
        """Put the three commands into a folder of PATH."""
        path.mkdir()
        self.folder.mkdir()
        for name in ("sbatch", "squeue", "scancel"):
            program = f"#!/bin/sh\nCLUSTER={self.folder} exec {sys.executable} -S {__file__} {name}"
            (path / name).write_text(f'{program} "$@"\n')
            (path / name).chmod(0o755)

    def tell(self, name: str, text: str = "") -> None:
        (self.folder / f".{name}").write_text(text)
        (self.folder / f".{name}").rename(self.folder / name)

    def is_told(self, name: str) -> bool:
        return (self.folder / name).exists()

    def jobs(self) -> list[dict]:
        paths = sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem))
        return [json.loads(path.read_text()) for path in paths]

    def read(self, number: str) -> dict | None:
        path = self.folder / f"{number}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, job: dict) -> None:
        temporary = self.folder / f".{job['number']}.{os.getpid()}"
        temporary.write_text(json.dumps(job))
        temporary.rename(self.folder / f"{job['number']}.json")


def parse(words: list[str]) -> tuple[dict[str, str], str]:
    """Options and script, as sbatch reads them."""
    options: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, is_given, value = words.pop(0)[2:].partition("=")
        if name in VALUED:
            options[name] = value if is_given else words.pop(0)
        elif name in FLAGS and not is_given:
            options[name] = ""
        else:
            sys.exit(
                f"sbatch: unrecognized option '--{name}'\n"
                'Try "sbatch --help" for more information'
            )
    return options, words[0]


def sbatch(cluster: Cluster, words: list[str]) -> None:
    options, script = parse(words)
    tried = "test-only" in options
    if options.get("partition", "cpu") not in PARTITIONS:
        fault = "Invalid partition name specified"
        first = f"sbatch: error: invalid partition specified: {options['partition']}\n"
        sys.exit("allocation failure: " + fault if tried else
                 first + f"sbatch: error: Batch job submission failed: {fault}")  # fmt: skip
    if "time" in options and not options["time"].replace(":", "").replace("-", "").isdecimal():
        sys.exit("sbatch: error: Invalid --time specification")
    if not Path(script).read_text().startswith("#!"):
        sys.exit("sbatch: error: This does not look like a batch script.")
    if tried:
        sys.exit(print("sbatch: Job 1 to start at 2030-01-01T00:00:00 using 1 processors on nodes "
                       "n1 in partition gpu", file=sys.stderr))  # fmt: skip
    number = str(1 + len(cluster.jobs()))
    spooled = cluster.folder / f"{number}.script"
    shutil.copy(script, spooled)
    cluster.write({"number": number, "state": "PENDING", "options": options})
    environment = dict(os.environ) if options.get("export", "ALL") == "ALL" else {}
    environment |= {"HOME": os.environ["HOME"], "PATH": os.defpath, "SLURM_JOB_ID": number}
    subprocess.Popen(
        [sys.executable, "-S", __file__, "run", number],
        env={**environment, "CLUSTER": str(cluster.folder)},
        cwd=options.get("chdir", "."),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    print(number if "parsable" in options else f"Submitted batch job {number}")


def run(cluster: Cluster, number: str) -> None:
    """The life of a job, in a process of its own."""
    job = cluster.read(number)
    assert job is not None
    while cluster.is_told("pending"):
        if cluster.is_told(f"{number}.cancelled"):
            return cluster.write({**job, "state": "CANCELLED"})
        time.sleep(TICK)
    output = job["options"].get("output", f"slurm-{number}.out").replace("%%", "%")
    with open(output, "ab") as log:
        child = subprocess.Popen(
            ["/bin/bash", cluster.folder / f"{number}.script"],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    cluster.write({**job, "state": "RUNNING"})
    asked = None
    while child.poll() is None and asked is None:
        if cluster.is_told(f"{number}.cancelled"):
            asked = "CANCELLED"
        elif cluster.is_told("end"):
            asked = (cluster.folder / "end").read_text()
        time.sleep(TICK)
    if asked is not None and child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(KILL_WAIT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    state = asked or ("FAILED" if child.returncode else "COMPLETED")
    cluster.write({**job, "state": state, "exit": child.returncode})


def squeue(cluster: Cluster, words: list[str]) -> None:
    (number,) = [word[7:] for word in words if word.startswith("--jobs=")]
    assert "--states=all" in words and "--noheader" in words and "--format=%T|%r" in words
    job = cluster.read(number)
    ended = job is not None and job["state"] not in ("PENDING", "RUNNING")
    if job is None or (ended and cluster.is_told("forgetful")):
        sys.exit(ENDED)
    print(f"{job['state']}|{'Resources' if job['state'] == 'PENDING' else 'None'}")


def scancel(cluster: Cluster, words: list[str]) -> None:
    job = cluster.read(words[0])
    if job is None or (cluster.is_told("forgetful") and "exit" in job):
        sys.exit(f"scancel: error: Kill job error on job id {words[0]}: Invalid job id specified")
    cluster.tell(f"{words[0]}.cancelled")


def main() -> None:
    cluster, (name, *words) = Cluster(Path(os.environ["CLUSTER"])), sys.argv[1:]
    if name == "run":
        return run(cluster, words[0])
    if cluster.is_told("down"):
        error = "sbatch: error: Batch job submission failed: " if name == "sbatch" else ""
        sys.exit(error + DOWN)
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel}[name](cluster, words)


if __name__ == "__main__":
    main()
