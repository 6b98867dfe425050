"""Groups of sites, one secure sum each: between one sum of all and each site's own update.

With a sum of all, a median over sites cannot be; with a sum a group, the median of the groups'
means can, and bounds what one lying site does. Who is with whom is drawn anew each round from what
all know beforehand, so each site can see that its group is the right one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from brainjepa_core.consortium.summing import threshold

FEWEST_GROUPED = 12  # sites for which groups are worth it
FEWEST_GROUPS = 3
SMALLEST_GROUP = 4  # sites: the fewest of which one may be gone


def require_groups(groups: int, sites: int) -> None:
    """Refuse groups that so many sites cannot be parted into.

    Raises
    ------
    ValueError
        If there are fewer than twelve sites, a group would have fewer than four, or groups are not
        odd in number, so that a median were none of their means.
    """
    if groups < FEWEST_GROUPS or groups % 2 == 0:
        raise ValueError(
            f"expected an odd number of groups from {FEWEST_GROUPS} (protect.groups), found "
            f"{groups}; a median needs one"
        )
    fewest = max(FEWEST_GROUPED, SMALLEST_GROUP * groups)
    if sites < fewest:
        raise ValueError(
            f"expected at least {fewest} sites for {groups} groups (protect.groups), found "
            f"{sites}; sum all sites at once (no protect.groups), or take fewer groups"
        )


def groups_in_words(sites: int, groups: int) -> str:
    """What groups are, to whoever decides about a study."""
    fewest, most = sites // groups, -(-sites // groups)
    sizes = f"{fewest}" if fewest == most else f"{fewest} or {most}"
    return (
        f"updates of the weights as {groups} sums (protect.groups), over groups of {sizes} sites "
        "that the contract's hash draws anew each round: the coordinator learns the sum of each "
        f"group, over at least {threshold(fewest)} sites, and takes the middle of the groups' "
        "means, so that one lying site moves the model little"
    )


def groups_of(
    names: Iterable[str], contract: str, round_: int, groups: int
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

    Returns
    -------
    tuple of tuple of str
        Names in order, within each group.

    Raises
    ------
    ValueError
        As `require_groups`.
    """
    sites = sorted(names)
    require_groups(groups, len(sites))

    def drawn(name: str) -> bytes:
        # A list in JSON: no two draws have the same text.
        return hashlib.sha256(json.dumps(["groups", contract, round_, name]).encode()).digest()

    shuffled = sorted(sites, key=drawn)
    return tuple(tuple(sorted(shuffled[k::groups])) for k in range(groups))
