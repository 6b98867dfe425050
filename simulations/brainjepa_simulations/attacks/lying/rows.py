"""The poisoning table as rows: every lie, against every combination of four and of twelve sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from brainjepa_server.settings import AggregationSettings
from brainjepa_simulations.attacks.attack import CLIPPED_MEAN, NONE, Row
from brainjepa_simulations.attacks.lying.poisoning import ATTACKS, effect, honest_round
from brainjepa_simulations.attacks.scene import Scene

SITES = (4, 12)
COMBINATIONS: Mapping[str, AggregationSettings] = {
    NONE: AggregationSettings(clip_norm=1e9, max_norm=1e9),
    CLIPPED_MEAN: AggregationSettings(),
    "trimmed mean": AggregationSettings(combine="trimmed_mean"),
    "median": AggregationSettings(combine="median"),
}
"""``none`` is a mean without limits; the clipped mean is the default."""
ERRORS = {4: 0.6, 12: 0.2}  # at most, of the honest mean's length


def rows(scene: Scene) -> Iterator[Row]:
    """How far one lying site turns one round; the error of twelve sites' median is their own."""
    for sites in SITES:
        honest = honest_round(sites)
        for lie in ATTACKS:
            if lie == "none":
                continue
            for name, settings in COMBINATIONS.items():
                if name == NONE and "passes" in lie:
                    continue  # without limits all passes
                found = effect(honest, lie, settings)
                at_most = None if name == NONE else ERRORS[sites]
                yield Row(f"error, {lie}, 1 of {sites}", name, found.error, at_most)
