"""A tiny study run by ``brainjepa simulate`` in a process of its own, to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from child_process import environment

ROOT = Path(__file__).parents[1]
PATIENCE = 240.0

SCENARIO = """
cohort: {sites: 3, subjects_per_site: 8, rois: 32, networks: 6, frames: 60}
policy: {min_subjects: 1, min_people_in_sum: 1, round_counts_to: 1, min_people_a_feature: 0}
study:
  name: tiny
  floors: {sites: 3, subjects_per_site: 1, subjects: 1}
  rounds: {local_steps: STEPS, quorum: QUORUM, evaluate_every: 2}
  aggregation: {outer: {kind: fedavgm, lr: 0.7}}
  pretraining:
    preset: tiny
    model: {width: 16, depth: 1, heads: 2, predictor_width: 16, predictor_depth: 1,
            predictor_heads: 2}
    windows: {frames: 48}
    basis: {components: 5}
    training:
      batch_size: 2
      schedule: {total_steps: TOTAL, warmup_steps: 2}
"""


def write_scenario(
    folder: Path, steps: int = 2, rounds: int = 4, quorum: int = 2, extra: str = ""
) -> Path:
    """The scenario in a file, of so many rounds and local steps."""
    path, text = folder / "tiny.yaml", SCENARIO
    for name, value in (("STEPS", steps), ("TOTAL", steps * rounds), ("QUORUM", quorum)):
        text = text.replace(name, str(value))
    path.write_text(text + extra)
    return path


def start(scenario: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``brainjepa simulate``; its output goes to a file beside `out`."""
    command = [sys.executable, "-m", "brainjepa", "simulate", str(scenario), "--out", str(out)]
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    with output_of(out).open("a") as output:
        return subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=environment(**threads),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def output_of(out: Path) -> Path:
    return out.with_name(out.name + ".output")


def finish(process: subprocess.Popen[str], out: Path) -> None:
    code = process.wait(PATIENCE)
    assert code == 0, output_of(out).read_text()[-3000:]


def run(scenario: Path, out: Path, *options: str) -> None:
    """Run to the end."""
    finish(start(scenario, out, *options), out)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], out: Path) -> None:
    """Look at a condition until it holds; the process must still be at work then."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, output_of(out).read_text()[-3000:]
        assert time.monotonic() < until, output_of(out).read_text()[-3000:]
        time.sleep(0.001)


def run_until(condition: Callable[[], object], scenario: Path, out: Path, *options: str) -> None:
    """Run until a condition holds, then die at once, whatever is under way."""
    process = start(scenario, out, *options)
    try:
        wait_for(condition, process, out)
    finally:
        process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL, "it ended before it was killed"


def weights(out: Path) -> bytes:
    return (out / "final" / "model.safetensors").read_bytes()


def run_id(out: Path) -> str:
    return (out / "mlflow_run.txt").read_text().strip()


def logged_rounds(out: Path) -> list[int]:
    """Rounds whose loss MLflow holds in the study's run, which must be the only one."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{(out.parent / 'mlflow.db').resolve()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    (found,) = [run for run in runs if "baseline of" not in run.data.tags]
    assert found.info.run_id == run_id(out) and found.info.status == "FINISHED"
    return sorted(metric.step for metric in client.get_metric_history(run_id(out), "loss"))
