"""Sets of people in a ledger: salted hashes, so that the file names nobody.

Budgets belong to people, not to stores: a copy of a store, a store with some people more, and two
stores that share a few all hold people who have spent before. What counts for a set is the person
of it who has spent most.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

People = frozenset[str]
"""Hashes of people."""


def hashed(subjects: Iterable[str], salt: str) -> People:
    """Salted hashes of subject ids, which only the site can compute.

    Parameters
    ----------
    subjects : iterable of str
    salt : str
        The site's secret.
    """
    return frozenset(
        hmac.digest(salt.encode(), b"ledger\0" + subject.encode(), "sha256").hex()[:32]
        for subject in subjects
    )


def exposures(people: People, studies: Mapping[str, People]) -> list[frozenset[str]]:
    """In which studies people of a set were, together: each way that somebody was.

    Parameters
    ----------
    people : set of str
    studies : mapping of str to set of str
        People of each study.

    Returns
    -------
    list of frozenset of str
        Names of studies; each person of `people` was in those of one of them, or in fewer: who was
        in all of another's studies and more has spent more.
    """
    found = {frozenset(name for name, known in studies.items() if who in known) for who in people}
    return sorted((one for one in found if not any(one < other for other in found)), key=sorted)
