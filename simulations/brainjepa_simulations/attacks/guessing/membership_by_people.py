"""How well weights tell who took part, by how many people a site trains on.

The steps of a round are the study's, whatever a site's size: the fewer people, the oftener each is
trained on, and the more of the weights is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from brainjepa_core.privacy.study import StudyPrivacy
from brainjepa_simulations.attacks.attack import DP, NONE, SECURE_SUM, Row
from brainjepa_simulations.attacks.guessing.membership import Sites, Weights, mean_of
from brainjepa_simulations.attacks.scene import Scene

SITES = 3  # as few as a study may have
PEOPLE = (10, 100)
EPSILON, DELTA, CLIP = 8.0, 1e-3, 0.5
MOST = 0.6  # AUC of a site of a hundred under epsilon 8, of three sites


class Figure(NamedTuple):
    """What was told of the people of one site.

    Attributes
    ----------
    weights : str
        What the attacker had.
    protection : str
    by_loss, by_gradient : float
        AUC.
    """

    weights: str
    protection: str
    by_loss: float
    by_gradient: float


def figures(scene: Scene, people: int, sites: int = SITES) -> Iterator[Figure]:
    """Of each site of so many people after one round: its own weights, then the mean of all.

    Each without noise and with it; what is not asked for is not computed.

    Parameters
    ----------
    scene : Scene
    people : int
        Who take part, of each site; as many of the same hospital do not.
    sites : int
    """
    all_of = Sites.of(scene, sites, people)
    first, everybody = all_of.first_weights(), range(sites)
    plain = [all_of.trained(site, first, 0) for site in everybody]
    privacy = StudyPrivacy(epsilon=EPSILON, delta=DELTA, clip=CLIP)
    private = [all_of.trained_privately(site, first, privacy) for site in everybody]
    judged: tuple[tuple[str, str, Sequence[Weights]], ...] = (
        ("a site's weights", NONE, plain),
        ("a site's weights", DP, private),
        (f"mean of {sites} sites", SECURE_SUM, [mean_of(plain)] * sites),
        (f"mean of {sites} sites", DP, [mean_of(private)] * sites),
    )
    for what, protection, weights in judged:
        for site, after in enumerate(weights):
            yield Figure(what, protection, *all_of.told_apart(site, first, after))


def rows(scene: Scene) -> Iterator[Row]:
    """A small and a large site's own weights, by the loss; noise holds those of the large one."""
    for people in PEOPLE:
        found = list(islice(figures(scene, people), 2 * SITES))
        for protection, noise in ((NONE, ""), (DP, f", epsilon {EPSILON:g}")):
            told = [one.by_loss for one in found if one.protection == protection]
            at_most = MOST if protection == DP and people == max(PEOPLE) else None
            what = f"AUC, a site of {people} people{noise}"
            yield Row(what, protection, sum(told) / len(told), at_most)
