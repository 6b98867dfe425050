"""What leaves a site within a secure sum, step by step, for a dry run.

Numbers become integers by the code that answers; the steps about keys and shares are answered by
the protocol itself, among stand-ins for the contract's other sites, with keys made for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from brainjepa_client.guarding.dry_run_rows import ReplyPart, message_of, rows_of
from brainjepa_client.guarding.policy_lines import PolicyLine
from brainjepa_core.evaluation.site_people import projected
from brainjepa_core.extras import require
from brainjepa_core.sums.moments import Moments, moments_from_arrays, moments_to_arrays
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import EVALUATE, Reply, Request, SumStep


def masked_rows(
    site: str,
    contract: Contract,
    request: Request,
    reply: Reply,
    lines: dict[str, PolicyLine],
) -> list[ReplyPart]:
    """Rows of an answer as it leaves, of each step by itself.

    Parameters
    ----------
    site : str
        Its name in the contract's roster.
    contract : Contract
        With ``protect: secure_sum``.
    request : Request
    reply : Reply
        The answer in the clear.
    lines : dict of str to PolicyLine
        Of the site's policy, by name.

    Raises
    ------
    ValueError
        If the contract is without the site.
    """
    message = message_of(request)
    return [
        replace(row, message=f"{message}, step {step}")
        for step, told in _replies(site, contract, request, reply)
        for row in rows_of(message, told, lines)
    ]


def _replies(
    site: str, contract: Contract, request: Request, reply: Reply
) -> Iterator[tuple[str, Reply]]:
    """What the site answers to each step of the first sum of its kind."""
    require("cryptography")
    from cryptography.hazmat.primitives.asymmetric import ec

    from brainjepa_client.answering.secure_sum import in_the_clear, vector_of
    from brainjepa_core.consortium.fingerprints import of_key
    from brainjepa_core.secure_sums.in_memory import answer
    from brainjepa_core.secure_sums.memory import SumMemory
    from brainjepa_core.secure_sums.messages import MASKED, SUM, VECTOR
    from brainjepa_core.secure_sums.server import SumServer, layout_of
    from brainjepa_core.secure_sums.site import SumSite
    from brainjepa_core.wire.sum_terms import terms_at

    own = terms_at(site, contract, request.kind, 0, SumStep("", 0, "0" * 64))
    protect = contract.assignment.protect
    protected = request.assignment.model_copy(update={"protect": protect})
    if request.kind == EVALUATE:
        reply = _of_few_features(reply, contract.assignment.yardstick_features_summed)
    vector = vector_of(replace(request, assignment=protected), reply, len(own.roster), bytes(32))
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in own.sites}
    terms = replace(own, roster={name: of_key(key.public_key()) for name, key in keys.items()})
    stand_in = {"of one number": np.zeros(1, np.uint32)}  # masks hang on no size
    server = SumServer(terms, layout_of(stand_in))
    with tempfile.TemporaryDirectory() as folder:
        sites = {
            name: SumSite(name, key, terms, SumMemory(Path(folder) / name))
            for name, key in keys.items()
        }
        while (step := server.step) is not None:
            for name in server.asked:
                given = server.request(name)
                told = answer(sites[name], step, given, {n: a.copy() for n, a in stand_in.items()})
                server.receive(name, told)
                if name == site and step == MASKED:
                    whole = {VECTOR + field: array for field, array in vector.items()}
                    yield step, Reply(in_the_clear(reply), {SUM: told[SUM], **whole})
                elif name == site:
                    yield step, Reply(arrays=told)
            server.end_step()


def _of_few_features(reply: Reply, most: int) -> Reply:
    """An answer with the moments of at most so many features, as sums over few people have them."""
    found = {}
    for group, m in moments_from_arrays(reply.arrays).items():
        mixing = projected(np.eye(len(m.x_sum)), most)
        mixed = m.x_sum @ mixing, m.y_sum, mixing.T @ m.xx @ mixing, mixing.T @ m.xy, m.yy
        found[group] = Moments(m.n, *mixed)
    return replace(reply, arrays=moments_to_arrays(found))
