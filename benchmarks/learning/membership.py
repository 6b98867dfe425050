"""Whom weights tell of, by how many people a site trains on: a page of figures with intervals.

Made-up people, the attacks' own study: sites of n people train one round of it, by themselves and
with the noise of epsilon 8. Who attacks has the weights before and after, and the very scan that a
person of the hospital would have been trained on. AUC is within a site; its mean and 95 % interval
(Student) are over sites and seeds, of people, weights, sampling and noise alike.

    python benchmarks/learning/membership.py --out membership.json      # half an hour of one core
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import t as student

from brainjepa_core.files import atomic_path
from brainjepa_core.machine.processors import use_threads
from brainjepa_simulations.attacks.guessing.membership_by_people import figures
from brainjepa_simulations.attacks.scene import Scene
from brainjepa_simulations.scenario import read_scenario

Result = dict[str, Any]


def results_of(seed: int, people: int, sites: int) -> list[Result]:
    """AUC of each site of one seed."""
    scenario = read_scenario("attacked")
    use_threads(scenario.threads)
    assert scenario.cohort is not None
    training = scenario.study.pretraining.training.model_copy(update={"seed": seed})
    pretraining = scenario.study.pretraining.model_copy(update={"training": training})
    changes = {
        "cohort": scenario.cohort.model_copy(update={"seed": scenario.cohort.seed + seed}),
        "study": scenario.study.model_copy(update={"pretraining": pretraining}),
    }
    with TemporaryDirectory() as folder:
        scene = Scene(scenario.model_copy(update=changes), Path(folder))
        told = {"seed": seed, "people": people, "sites": sites}
        return [told | one._asdict() for one in figures(scene, people, sites)]


def told(values: list[float]) -> str:
    """Mean, and its 95 % interval."""
    mean, count = float(np.mean(values)), len(values)
    wide = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return f"{mean:.2f} ({mean - wide:.2f} to {mean + wide:.2f})"


def table(results: list[Result]) -> Iterator[str]:
    """Markdown: two rows a number of people, by the fall of the loss and by the gradient."""
    columns = list(dict.fromkeys((r["weights"], r["protection"]) for r in results))
    yield f"| people a site | by | {' | '.join(f'{what}, {how}' for what, how in columns)} |"
    yield "|---" * (2 + len(columns)) + "|"
    for people in sorted({r["people"] for r in results}):
        of_people = [r for r in results if r["people"] == people]
        for way in ("loss", "gradient"):
            cells = [
                told([r[f"by_{way}"] for r in of_people if (r["weights"], r["protection"]) == one])
                for one in columns
            ]
            yield f"| {people} | {way} | {' | '.join(cells)} |"


def main() -> None:
    """Compute what is not there yet, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON of results")
    parser.add_argument("--people", nargs="+", type=int, default=[10, 25, 50, 100])
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    results: list[Result] = json.loads(asked.out.read_text()) if asked.out.exists() else []
    there = {(r["seed"], r["people"], r["sites"]) for r in results}
    for seed in range(asked.seeds):
        for people in asked.people:
            if (seed, people, asked.sites) in there:
                continue
            results += results_of(seed, people, asked.sites)
            with atomic_path(asked.out) as temporary:
                temporary.write_text(json.dumps(results) + "\n")
            print(f"seed {seed}, {people} people a site", flush=True)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
