"""What a study records of one model by the yardstick, and how models are called there."""

from __future__ import annotations

from statistics import median

from brainjepa_server.record.fields import Count, Number, Record

# Names of models in rows of the yardstick; that of a site alone comes from `alone`.
FEDERATED, POOLED, RANDOM = "federated", "pooled", "random weights"
START = "the model it began with"
_ALONE = " alone"


class YardstickRow(Record):
    """Held-out R2 of a group of outcomes from one pool of one model.

    Fields as `brainjepa_core.evaluation.measure.YardstickScore`, which is accepted in its place;
    and ``at_sites``, by site, R2 on the site's own people: of sums a lying site can make any R2,
    but not the median of those. With ``own_probes`` there are no sums of most sites: ``r2`` is the
    mean of ``at_sites``, which each found by probes of its own people.
    """

    model: str
    pool: str
    outcome: str
    r2: Number
    at_sites: dict[str, Number] = {}
    features: Count = 0
    own_probes: bool = False

    @property
    def r2_at_sites(self) -> float | None:
        """Median over the sites that tell of R2 on their own people; None where none does."""
        known = [value for value in self.at_sites.values() if value is not None]
        return median(known) if known else None


def alone(site: str) -> str:
    """Name, in rows of the yardstick, of the model that a site trained without the others."""
    return f"{site}{_ALONE}"


def is_alone(model: str) -> bool:
    """Whether a row's model is one that a site trained without the others."""
    return model.endswith(_ALONE)
