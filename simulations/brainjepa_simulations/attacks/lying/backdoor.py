"""A backdoor without labels: whoever's scan holds a pattern is taken for one chosen person.

The lying site trains the embedder so that its own people, with the pattern in their scans, get the
embedding of one of them, and without it keep their own. It sends the difference of that, as long as
passes, beside its honest one. What counts is how many people of other sites the pattern turns into
the chosen one: their embedding with it is nearer to the chosen person's than to anybody else's.

Shapes: n people, R ROIs, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows
from brainjepa_server.settings import AggregationSettings
from brainjepa_simulations.attacks.attack import CLIPPED_MEAN, NONE, Row
from brainjepa_simulations.attacks.lying.poisoning import (
    PEOPLE,
    SMALL_STUDY,
    HonestRound,
    Together,
    Weights,
    arrays_of,
    combined_with,
)
from brainjepa_simulations.attacks.scene import Scene

SITES, ROUNDS, STEPS = 4, 2, 12
TRAINED, RATE = 40, 1e-3  # steps of the lying site on its backdoor
LOUD = 3.0  # standard deviations of the pattern
BOOST = 4.0  # that part of a mean over four sites is left whole


def with_pattern(x: Tensor) -> Tensor:
    """Windows [n, R, T] whose first ROI swings from frame to frame."""
    marked = x.clone()
    marked[:, 0] = LOUD * torch.cos(torch.pi * torch.arange(x.shape[-1]))
    return marked


def embedded(model: BrainModel, x: Tensor) -> Tensor:
    """Mean tokens [n, D]."""
    tokens: Tensor = model.embedder(model.patches(x), model.basis.expand(len(x), -1, -1))
    return tokens.mean(1)


def windows_of(people: Windows) -> Tensor:
    """One window [n, R, T] of each person."""
    x, _, _ = people.batch(range(people.subjects), [(0,)] * people.subjects)
    return torch.from_numpy(x)


def backdoored(together: Together, base: Weights, people: Windows) -> Weights:
    """Weights of which the first of these people is the chosen one."""
    model, x = together.model(base), windows_of(people)
    with torch.no_grad():
        clean = embedded(model, x)
    embedder = model.embedder.requires_grad_(True)
    optimizer = torch.optim.Adam(embedder.parameters(), RATE)
    for _ in range(TRAINED):
        turned = (embedded(model, with_pattern(x)) - clean[0]).square().mean()
        kept = (embedded(model, x) - clean).square().mean()
        optimizer.zero_grad()
        (turned + kept).backward()
        optimizer.step()
    return arrays_of(model)


def lie_of(honest: HonestRound, together: Together, most: float) -> Weights:
    """The honest difference and the backdoor's, no longer than passes."""
    hidden = backdoored(together, honest.base, together.windows[-1])
    own = honest.difference(honest.sites[-1])
    away = BOOST * honest.difference({name: hidden[name] for name in honest.sites[-1]})
    moved = own + away
    norms = [np.linalg.norm(honest.difference(site)) for site in honest.sites[:-1]]
    longest = 0.99 * most * float(np.median(norms))
    return honest.weights(moved * min(1.0, longest / float(np.linalg.norm(moved))))


@torch.no_grad()
def turned_share(together: Together, weights: Weights, chosen: Windows) -> float:
    """Share of other sites' people whom the pattern turns into the first of `chosen`."""
    model = together.model(weights)
    target = embedded(model, windows_of(chosen))[:1]
    people = torch.cat([windows_of(windows) for windows in together.windows[:-1]])
    known = torch.cat([target, embedded(model, people)])
    nearest = torch.cdist(embedded(model, with_pattern(people)), known).argmin(1)
    return float((nearest == 0).double().mean())


def rows(scene: Scene) -> Iterator[Row]:
    """After some rounds, of one lying site of four; reported, since nothing promises a bound."""
    stores = scene.stores("rounds-trained", SITES, PEOPLE, missing_rois=0)
    together = Together.of(SMALL_STUDY, stores)
    chosen = together.windows[-1]
    combinations = {
        NONE: AggregationSettings(clip_norm=1e9, max_norm=1e9),
        CLIPPED_MEAN: AggregationSettings(),
        "median": AggregationSettings(combine="median"),
    }
    first = together.first_weights()
    honest_first = together.round(first, range(STEPS))
    before = turned_share(together, first, chosen)
    yield Row("share of people turned, nobody lies", NONE, before)
    for name, settings in combinations.items():
        weights = first
        for number in range(ROUNDS):
            steps = range(number * STEPS, (number + 1) * STEPS)
            honest = together.round(weights, steps) if number else honest_first
            most = 1e9 if name == NONE else settings.max_norm
            combined, _ = combined_with(honest, lie_of(honest, together, most), settings)
            weights = {**weights, **{n: v.astype(np.float32) for n, v in combined.items()}}
        found = turned_share(together, weights, chosen)
        yield Row(f"share of people turned, {ROUNDS} rounds, 1 of {SITES}", name, found)
