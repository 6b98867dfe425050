"""Epsilon by Google's dp-accounting (Apache-2.0), a distribution of privacy losses of its own.

Its figures for fifty random studies are in ``pld_figures.json``, since it asks for older attrs than
are pinned. Where it can be imported, this writes them anew:

    python tests/oracles/pld.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FIGURES = Path(__file__).with_name("pld_figures.json")
STUDIES, LARGEST = 50, 60.0
Study = tuple[list[tuple[float, float, int]], float]


def random_study(seed: int) -> Study:
    """One to three kinds of release (noise, rate, times) over the same people, and a delta."""
    rng = np.random.default_rng(seed)
    releases = []
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.2:  # sums over everybody
            releases.append((round(rng.uniform(3, 40), 3), 1.0, int(rng.integers(1, 5))))
        else:
            noise = round(float(np.exp(rng.uniform(np.log(0.6), np.log(8)))), 3)
            rate = round(float(np.exp(rng.uniform(np.log(0.005), np.log(0.5)))), 4)
            releases.append((noise, rate, int(rng.choice([50, 300, 1000, 3000]))))
    return releases, float(rng.choice([1e-3, 1e-5, 1e-6]))


def epsilon(releases: list[tuple[float, float, int]], delta: float) -> float:
    from dp_accounting.pld import privacy_loss_distribution as pld

    whole = None
    for noise, rate, times in releases:
        part = pld.from_gaussian_mechanism(
            noise, sampling_prob=rate, value_discretization_interval=1e-4
        ).self_compose(times)
        whole = part if whole is None else whole.compose(part)
    return float(whole.get_epsilon_for_delta(delta))


def figures() -> list[dict]:
    """The first fifty random studies whose epsilon is of use to anybody."""
    found, seed = [], 0
    while len(found) < STUDIES:
        releases, delta = random_study(seed)
        told = epsilon(releases, delta)
        if told <= LARGEST:
            found.append({"releases": releases, "delta": delta, "epsilon": round(told, 6)})
        seed += 1
    return found


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(line) for line in figures())
    FIGURES.write_text(f"[\n{lines}\n]\n")
