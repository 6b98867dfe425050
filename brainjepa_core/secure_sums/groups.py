"""Groups of sites, one secure sum each: between one sum of all and each site's own update.

With a sum of all, a median over sites cannot be; with a sum a group, the median of the groups'
means can, and bounds what one lying site does. Who is with whom is drawn anew each round from what
all know beforehand, so each site can see that its group is the right one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from brainjepa_core.secure_sums.terms import statement

FEWEST_SITES = 12  # for which groups are worth it
GROUPS = 3
SMALLEST = 4  # sites a group: the fewest of which one may be gone


def groups_of(
    names: Iterable[str], contract: str, round_: int, groups: int = GROUPS
) -> tuple[tuple[str, ...], ...]:
    """Part sites into groups whose sizes differ by one at most.

    Parameters
    ----------
    names : iterable of str
        The roster of the contract.
    contract : str
        SHA-256 (hex) of the contract.
    round_ : int
        From 0.
    groups : int
        Odd, so that a median is one of their means.

    Returns
    -------
    tuple of tuple of str
        Names in order, within each group.

    Raises
    ------
    ValueError
        If there are fewer than twelve sites, or a group would have fewer than four.
    """
    sites = sorted(names)
    if groups < GROUPS or groups % 2 == 0:
        raise ValueError(
            f"expected an odd number of groups from {GROUPS}, found {groups}; a median needs one"
        )
    if len(sites) < max(FEWEST_SITES, SMALLEST * groups):
        raise ValueError(
            f"expected at least {max(FEWEST_SITES, SMALLEST * groups)} sites for {groups} groups, "
            f"found {len(sites)}; sum all sites at once, or take fewer groups"
        )

    def drawn(name: str) -> bytes:
        parts = (contract.encode(), str(round_).encode(), name.encode())
        return hashlib.sha256(statement("groups", *parts)).digest()

    shuffled = sorted(sites, key=drawn)
    return tuple(tuple(sorted(shuffled[k::groups])) for k in range(groups))
