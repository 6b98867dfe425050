"""A whole secure sum among sites of one process: for simulations, and to try the protocol."""

from __future__ import annotations

from collections.abc import Mapping

from brainjepa_core.arrays import Arrays
from brainjepa_core.secure_sums.messages import ALIVE, KEYS, MASKED, SHARES, Message
from brainjepa_core.secure_sums.server import SumServer
from brainjepa_core.secure_sums.site import SumSite


def sum_in_memory(
    sites: Mapping[str, SumSite],
    server: SumServer,
    vectors: Mapping[str, Arrays],
    gone: Mapping[str, str] | None = None,
) -> Arrays:
    """Run all five steps.

    Parameters
    ----------
    sites : mapping of str to SumSite
        By name; some of the roster may be missing.
    server : SumServer
        At its first step.
    vectors : mapping of str to dict of ndarray of uint32 or uint64
        Of each site; masked in place.
    gone : mapping of str to str, optional
        The first step that a site does not answer.

    Returns
    -------
    dict of str to ndarray
        Sum of the vectors of ``server.alive``.

    Raises
    ------
    TooFewSites
        If fewer than the threshold are left in a step.
    """
    left: set[str] = set()
    while server.step is not None:
        left |= {site for site, step in (gone or {}).items() if step == server.step}
        for name in server.asked:
            if name in sites and name not in left:
                request = server.request(name)
                server.receive(name, answer(sites[name], server.step, request, vectors[name]))
        server.end_step()
    return server.total()


def answer(site: SumSite, step: str, request: Message, vector: Arrays) -> Message:
    """What a site answers to a step."""
    if step == KEYS:
        return site.keys(request)
    if step == SHARES:
        return site.shares(request)
    if step == MASKED:
        return site.masked(request, vector)
    return site.alive(request) if step == ALIVE else site.unmask(request)
