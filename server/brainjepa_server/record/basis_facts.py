"""What a study records of its consensus basis."""

from __future__ import annotations

from brainjepa_server.record.fields import Count, Number, Reason, Record


class BasisFacts(Record):
    """What the consensus basis is and of whom.

    Attributes
    ----------
    hash : str
        Of `ConsensusBasis`.
    eigenvalues, eigengaps : tuple of float or None
        Of the m components, and the m - 1 relative gaps between neighbours.
    sites : tuple of str
        Whose people are behind it.
    subjects : int
        How many people.
    left_out, capped : dict of str to str
        Why those of other sites that were there are not; why a site counts for fewer than it told.
    without_coskewness : dict of str to str
        Why sites that are behind the basis are not behind the sum of co-skewness.
    compared : bool
        Whether sites were compared, which takes three.
    given : bool
        Whether it was taken from the model that the study starts from, without the sites' sums.
    drift : dict of str to float or None
        Largest principal angle, in degrees, of each site's own gradients against the basis.
    """

    hash: str
    eigenvalues: tuple[Number, ...] = ()
    eigengaps: tuple[Number, ...] = ()
    sites: tuple[str, ...] = ()
    subjects: Count = 0
    left_out: dict[str, Reason] = {}
    capped: dict[str, Reason] = {}
    without_coskewness: dict[str, Reason] = {}
    compared: bool = True
    given: bool = False
    drift: dict[str, Number] = {}
