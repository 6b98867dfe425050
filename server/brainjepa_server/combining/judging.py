"""A round's replies from the first to their combination: judged by themselves, then side by side.

Replies that pass wait on disk, as many bytes as they had on the wire, since how far one may pull is
known only when all are there (`combining.limits`). In memory there is one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from brainjepa_core.arrays import Float32
from brainjepa_core.models.roles import Roles
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.aggregation import Means, combiner
from brainjepa_server.combining.limits import Limits, Pull, limits_of, told_share
from brainjepa_server.combining.validation import Counts, Update, check_reply
from brainjepa_server.combining.waiting.replies import WaitingReplies
from brainjepa_server.settings import AggregationSettings


class JudgedReplies(WaitingReplies):
    """Takes the train replies of a round; a ``with`` block, after which nothing is on disk.

    Parameters
    ----------
    base : mapping of str to ndarray of float32
        The round's global weights.
    settings : AggregationSettings
    roles : Roles
        Of the model's arrays.
    steps : int
        Optimiser steps that the round asked for.
    folder : Path, optional
        Where replies wait; the system's place by default.
    private : bool
        Whether replies are weights and steps alone (``protect: dp``). Each then counts by what its
        site told of when it joined.

    Attributes
    ----------
    updates : dict of str to Update
        Of the sites that passed so far, without their arrays.
    """

    def __init__(
        self,
        base: Mapping[str, Float32],
        settings: AggregationSettings,
        roles: Roles,
        steps: int,
        folder: Path | None = None,
        *,
        private: bool = False,
    ) -> None:
        self._base, self._settings, self._roles, self._steps = base, settings, roles, steps
        super().__init__(folder)
        self._place, self._private = folder, private
        self._pulls: dict[str, Pull] = {}
        self.updates: dict[str, Update] = {}

    def take(
        self, site: str, reply: Reply, counts: Counts | None = None, buffer: Path | None = None
    ) -> None:
        """Judge a site's reply by itself, and keep it.

        Parameters
        ----------
        site : str
        reply : Reply
        counts : Counts, optional
            What the site told of when it joined.
        buffer : Path, optional
            The file that holds the reply's arrays and nothing else, on the disk where replies
            wait; taken where the reply passes, so that arrays are not written twice.

        Raises
        ------
        RejectedReply
            And nothing else, whatever the reply is.
        """
        share = told_share(counts, self._settings.shares) if self._private else None
        judged = self._base, self._settings, self._roles, self._steps
        update = check_reply(reply, *judged, share)
        self._keep(site, update.arrays, buffer)
        self._pulls[site] = Pull(update.norm, update.share, counts)
        self.updates[site] = replace(update, arrays={})

    def limits(self) -> Limits:
        """What becomes of each reply beside the others."""
        return limits_of(self._pulls, self._settings)

    def combine(self, limits: Limits) -> Means:
        """The combined weights, float64, of the replies that count; once.

        Raises
        ------
        ValueError
            If none does.
        """
        together = combiner(self._settings, self._base, self._place)
        for site, update in self.updates.items():
            if site in limits.rejected:
                continue
            arrays = self._kept(site)
            scale, share = limits.scales[site], limits.shares[site]
            together.add(replace(update, arrays=arrays, scale=scale, share=share))
        return together.result()
