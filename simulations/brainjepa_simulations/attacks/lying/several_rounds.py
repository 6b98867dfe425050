"""One lying site in every round of a study: what is left of what the model tells of people.

The figures are the yardstick's R2 of latent traits, of people whom nobody trained on, less that of
the same study without a lie; and how far the weights are from that study's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainjepa_core.evaluation.measure import HEADLINE, measure_model, outcomes_of
from brainjepa_server.settings import AggregationSettings
from brainjepa_simulations.attacks.attack import CLIPPED_MEAN, NONE, Row
from brainjepa_simulations.attacks.lying.poisoning import (
    ATTACKS,
    PEOPLE,
    SMALL_STUDY,
    Together,
    Weights,
    combined_with,
)
from brainjepa_simulations.attacks.scene import Scene

SITES, ROUNDS, STEPS = 4, 4, 12
LIES = ("flip x 10", "zero the model")
LOST, OFF = 0.05, 1.0  # R2; the length of what an honest study learns
PLAIN, DEFAULT = AggregationSettings(clip_norm=1e9, max_norm=1e9), AggregationSettings()


def studied(together: Together, lie: str, settings: AggregationSettings) -> Weights:
    """Weights after all rounds, in each of which the last site lies."""
    weights, rng = together.first_weights(), np.random.default_rng(0)
    for number in range(ROUNDS):
        honest = together.round(weights, range(number * STEPS, (number + 1) * STEPS))
        sent = honest.weights(ATTACKS[lie](honest, settings, rng))
        combined, _ = combined_with(honest, sent, settings)
        weights = {**weights, **{n: v.astype(np.float32) for n, v in combined.items()}}
    return weights


def rows(scene: Scene) -> Iterator[Row]:
    """What one lying site of four takes away, with the default combination and without limits."""
    both = scene.stores("rounds", SITES, 2 * PEOPLE, missing_rois=0)
    fewer = scene.stores("rounds-trained", SITES, PEOPLE, missing_rois=0)
    together = Together.of(SMALL_STUDY, fewer)
    everybody = SMALL_STUDY.windows_of(both)
    others = everybody.only([i for i in range(everybody.subjects) if i % (2 * PEOPLE) >= PEOPLE])
    outcomes = outcomes_of(others, together.mean_fc)

    def r2(weights: Weights) -> float:
        table = measure_model("", together.model(weights).eval(), others, outcomes)
        found = {(row.pool, row.outcome): row.r2 for row in table}
        return found[HEADLINE, "latents"]

    first, honest = together.first_weights(), studied(together, "none", AggregationSettings())
    known = r2(honest)
    yield Row("R2 of latent traits, honest", NONE, known)
    for lie in LIES:
        for name, settings, at_most in ((NONE, PLAIN, None), (CLIPPED_MEAN, DEFAULT, LOST)):
            found, told = studied(together, lie, settings), f"{lie}, 1 of {SITES}, {ROUNDS} rounds"
            yield Row(f"R2 lost, {told}", name, known - r2(found), at_most)
            off = distance(found, honest) / distance(first, honest)
            yield Row(f"distance from the honest model, {told}", name, off, at_most and OFF)


def distance(one: Weights, other: Weights) -> float:
    """Norm of a difference; of an honest study's first and last weights it is what was learned."""
    parts = [np.square(one[n].astype(np.float64) - other[n]).sum() for n in one if n in other]
    return float(np.sqrt(sum(parts)))
