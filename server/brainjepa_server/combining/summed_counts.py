"""What a secure sum can hold of people, by what each of its sites told when it joined.

Nobody sees one site's numbers in a sum, so a lie shows only where the sum is one that these sites
cannot have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from brainjepa_core.secure_sums.encoding.fixed_point import OutOfRange
from brainjepa_server.combining.limits import largest_share
from brainjepa_server.combining.validation import Counts, most_people

ONE_PART = " (no site counts for more than twice an even part)"


def require_told_together(
    number: int, field: str, alive: Sequence[str], counts: Mapping[str, Counts], of: str = "shares"
) -> None:
    """Refuse a sum of more people, or scans, than its sites have by what they told.

    Parameters
    ----------
    number : int
        That the sum holds.
    field : str
        Of `Counts`: what is counted.
    alive : sequence of str
        Sites of the sum.
    counts : mapping of str to Counts
        What sites told of when they joined.
    of : str
        In which of the sums, in words.

    Raises
    ------
    OutOfRange
    """
    if any(site not in counts for site in alive):
        return
    told = [getattr(counts[site], field) for site in alive]
    most = sum(max(most_people(n), 1) for n in told)
    if number > most:
        raise OutOfRange(
            f"expected at most {most} {field} in a secure sum ({of}), by what its {len(told)} "
            "sites told when they joined (rounded down: each has fewer than twice as many), found "
            f"{number}: a site sent what it must not; drop the round"
        )


def counted_people(people: int, told: Iterable[int]) -> int:
    """People of a sum, of whom no site counts for more than 2 / n of all: for a floor.

    So a floor that the claim of one site would meet by itself is not met by it: of the people that
    a floor promises, all but 2 / n are other sites'.

    Parameters
    ----------
    people : int
        In the sum, no more than are told: what a sum has beyond may be the lie of one site.
    told : iterable of int
        By each of its n sites.
    """
    numbers = list(told)
    most = largest_share([float(n) for n in numbers]) if numbers else 0.0
    return max(people - sum(int(n - min(n, most)) for n in numbers), 0)
