"""How many sites a secure sum needs."""

from __future__ import annotations

FEWEST = 3  # sites; of two, each one knows the other's part of the sum


def threshold(sites: int) -> int:
    """How many of `sites` have to take part in each step: more than two thirds.

    Two stories about who is alive would each need this many sites, so that more than a third would
    have to tell both.

    Raises
    ------
    ValueError
        If there are fewer than three sites.
    """
    if sites < FEWEST:
        raise ValueError(
            f"expected at least {FEWEST} sites in a secure sum, found {sites}; in a sum of two "
            "each site knows the other's part: let more sites take part, or go without secure sums"
        )
    return 2 * sites // 3 + 1
