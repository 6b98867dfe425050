"""How far the federation's model is ahead of another, site by site, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from brainjepa_server.record.fields import Count, Number, Record
from brainjepa_server.record.over_sites import OverSites
from brainjepa_server.record.yardstick_row import FEDERATED, YardstickRow, is_alone

# Sites that an interval takes: R2 of a site's few people has a long tail downwards, which a mean of
# three or four does not bear.
FEWEST = 5


class Gain(Record):
    """R2 of the federation's model less that of another, at the sites.

    Attributes
    ----------
    beside : str
        The other model.
    pool, outcome : str
        What R2 is read from, and of what.
    mean : float
        Over the sites that know both, each counted once: of the difference on its own people.
    low, high : float or None
        95 % interval of the mean by Student's t over sites; None of too few of them.
    sites : int
    """

    beside: str
    pool: str
    outcome: str
    mean: Number
    low: Number
    high: Number
    sites: Count


def gain(own: YardstickRow, other: YardstickRow) -> Gain | None:
    """The first row's model less the other's, of one pool and outcome; None where not told.

    Sites' own probes and a probe of all people are two ways to R2: their figures are not compared.
    """
    both = sorted(own.at_sites.keys() & other.at_sites.keys())
    pairs = [(own.at_sites[site], other.at_sites[site]) for site in both]
    found = [x - y for x, y in pairs if x is not None and y is not None]
    if own.own_probes != other.own_probes or not found:
        return None
    over = OverSites.of(found, FEWEST)
    return Gain(
        beside=other.model,
        pool=own.pool,
        outcome=own.outcome,
        mean=over.mean,
        low=over.low,
        high=over.high,
        sites=over.sites,
    )


def gains(rows: Iterable[YardstickRow]) -> Iterator[Gain]:
    """The federation's model beside each other that all sites share, where sites told of both."""
    rows = list(rows)
    own = {(row.pool, row.outcome): row for row in rows if row.model == FEDERATED}
    for row in rows:
        mine = own.get((row.pool, row.outcome))
        if mine is not None and row.model != FEDERATED and not is_alone(row.model):
            found = gain(mine, row)
            if found is not None:
                yield found
