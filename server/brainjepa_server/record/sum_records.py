"""What a study records of a round's secure sums, in place of single replies."""

from __future__ import annotations

from pydantic import Field

from brainjepa_server.record.fields import Number, Reason, Record


class GroupRecord(Record):
    """The secure sum of one group of sites.

    Attributes
    ----------
    sites : tuple of str
        Who was drawn into it.
    loss, share, norm : float or None
        As of a `SumRecord`.
    left_out : str
        Why the round is without it; empty where it is not.
    """

    sites: tuple[str, ...] = ()
    loss: Number = None
    share: Number = None
    norm: Number = None
    left_out: Reason = ""


class SumRecord(Record):
    """A round of which single replies were not seen.

    Attributes
    ----------
    attempt : int
        From 1; of groups the largest.
    loss, share, norm : float or None
        Mean loss of the sites by their shares, or of groups the middle of theirs; shares together;
        norm of the update that was made of it, relative to the round's weights.
    groups : tuple of GroupRecord
        Empty where all sites were in one sum.
    """

    attempt: int = Field(1, ge=1)
    loss: Number = None
    share: Number = None
    norm: Number = None
    groups: tuple[GroupRecord, ...] = ()
