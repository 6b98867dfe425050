"""Each attack by questions, on a site with and without a contract: how many people it tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from brainjepa_client.computing.kinds import people_of
from brainjepa_core.evaluation.measure import HEADLINE, networks_of, outcome_groups
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.pretraining.sampling import batches_of_step, draws_of_step
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import BASIS, COMPONENTS, Assignment
from brainjepa_simulations.attacks.asking.folds import people_from_folds
from brainjepa_simulations.attacks.asking.insisting import Ask
from brainjepa_simulations.attacks.asking.inversion import Inverted, inverted_rounds
from brainjepa_simulations.attacks.asking.known_scans import outcomes_of_known_people
from brainjepa_simulations.attacks.asking.moments import people_from_moments
from brainjepa_simulations.attacks.asking.questions import values_by_counting, values_by_judging
from brainjepa_simulations.attacks.asking.two_settings import people_from_two_settings
from brainjepa_simulations.attacks.attack import CONTRACT, NONE, Row
from brainjepa_simulations.attacks.scene import Scene
from brainjepa_simulations.attacks.victim import AGE, Victim

YEARS = [float(age) for age in range(15, 85)]
EXACT = 1e-6
SAME, FEWEST_TOKENS = 0.99, 3  # correlation of a found window with the true one, of so many tokens
Asking = Callable[[Victim, Ask, Assignment], int]


def fold_differences(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People whose connectivity sums over all but one fold give away."""
    return victim.known_z(people_from_folds(ask, study, victim.labels))


def two_settings(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People whom two sums of one study differ by."""
    return victim.known_z(people_from_two_settings(ask, study, victim.labels))


def spans_of_moments(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People in whom spans of moments meet."""
    names = {"pool": HEADLINE, "outcome": "age within site"}
    found = people_from_moments(ask, study, victim.arrays, **names, folds=12, seeds=range(4))
    features, ages = _truth(victim)
    return sum(
        any(
            np.abs(sign * person - x).max() < EXACT and np.abs(sign * age - y).max() < EXACT
            for person, age in found
            for sign in (1, -1)
        )
        for x, y in zip(features, ages, strict=True)
    )


def known_scans(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People whose age one honest answer tells somebody who has their scan."""
    features, ages = _truth(victim)
    names = {"pool": HEADLINE, "outcome": "age within site"}
    found = outcomes_of_known_people(ask, study, victim.arrays, features, **names)
    return sum(
        told is not None and bool(np.abs(told - age).max() < EXACT)
        for told, age in zip(found, ages, strict=True)
    )


def _truth(victim: Victim) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, P] and ages within the site [n, 1] of the people, as the site has them."""
    networks = networks_of(victim.windows, victim.arrays[BASIS])
    features = embed_people(
        victim.model.eval(), victim.windows, range(victim.people), (HEADLINE,), networks
    )[HEADLINE]
    return features, outcome_groups(victim.windows, victim.arrays[COMPONENTS])["age within site"]


def counted_ages(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People whose age counts of people give away."""
    found = values_by_counting(ask, study, victim.arrays, "age", YEARS, HEADLINE)
    return victim.known_ages(found)


def judged_ages(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People whose age errors of guesses give away."""
    features = _truth(victim)[0].shape[1]
    found = values_by_judging(
        ask, study, victim.arrays, AGE.question("judge"), features, victim.people, YEARS
    )
    return victim.known_ages(found)


def inverted_windows(victim: Victim, ask: Ask, study: Assignment) -> int:
    """People of whom most of a window was found."""
    rounds = inverted_rounds(ask, study, len(victim.windows.atlas))
    return len({person for one in rounds for person in _people_of(victim, one)})


def _people_of(victim: Victim, found: Inverted) -> Iterator[int]:
    """Whose windows of a round's first step were found, by comparison with the true ones."""
    asked, tokens = found.asked, sorted(found.patches)
    if len(tokens) < FEWEST_TOKENS:
        return
    recipe = asked.pretraining.training
    store = ScanStore.open(victim.settings.store)
    windows = people_of(victim.settings, store, asked).training
    (batch, *_) = batches_of_step(windows, found.model, recipe, asked.first_step)
    draws = draws_of_step(recipe.seed, asked.first_step, recipe.batch_size, windows.subjects)
    told = np.concatenate([found.patches[token] for token in tokens])
    for draw, true in zip(draws, found.model.patches(batch.x).numpy(), strict=False):
        if np.corrcoef(true[tokens].ravel(), told)[0, 1] > SAME:
            yield draw.subject


def rows_of(attack: Asking, what: str) -> Callable[[Scene], Iterator[Row]]:
    """The rows of an attack by questions: nobody is found of a site that answers contracts."""

    def found(scene: Scene) -> Iterator[Row]:
        for protection, at_most in ((NONE, None), (CONTRACT, 0.0)):
            state = scene.folder / "states" / f"{attack.__name__}, {protection}"
            victim = Victim(scene.victim, scene.study, state)
            asked = victim.by_contract() if protection == CONTRACT else victim.without_contract()
            yield Row(
                f"{what}, of {victim.people}", protection, float(attack(victim, *asked)), at_most
            )

    return found
