"""A reply as rows of a dry run, each with the lines of the site's policy that bear on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from brainjepa_client.guarding.floors import A_TASK, policy_of
from brainjepa_client.guarding.policy_lines import PolicyLine
from brainjepa_core.wire.messages import (
    DESCRIBE,
    GRADIENTS,
    NOT_READ,
    TRAIN,
    Reply,
    Request,
    Scalar,
)

MASKED_PREFIX = "vector."  # `secure_sums.messages.VECTOR`, which needs cryptography
NUMBER_BYTES = 8
# Numbers that are the same in every round of a study, whatever the weights.
STEADY = ("share", "people", NOT_READ)


@dataclass(frozen=True)
class ReplyPart:
    """One array, number or text of a reply.

    Attributes
    ----------
    message, name : str
        An evaluation of a task is a message by what it asks for, such as ``evaluate a task: sums``.
    what : {"array", "masked", "number", "text", "refused"}
        ``masked`` is an array of integers under the masks of a secure sum: without the other sites'
        masks, uniformly random ones. ``refused`` is the text of a refusal, which is then all that
        leaves.
    dtype : str
        Of numpy for arrays as they travel; of Python for the others.
    shape : tuple of int, optional
        None but for arrays.
    bytes : int
        Of the array's buffer; 8 for a number; those of UTF-8 for a text. Names and Flower's own
        envelope (node, run, time) come on top.
    value : str
        Of numbers and texts that do not vary over the rounds of a study, else empty.
    policy : tuple of PolicyLine
        The line that allows (or refuses) it, then those that bound it. Empty where the site
        failed.
    """

    message: str
    name: str
    what: str
    dtype: str
    shape: tuple[int, ...] | None
    bytes: int
    value: str
    policy: tuple[PolicyLine, ...]


def message_of(request: Request) -> str:
    """What rows call a request: its kind, and of a task what is wanted."""
    probe = request.assignment.probe
    return request.kind if probe is None else f"{A_TASK}{probe.want}"


def rows_of(kind: str, reply: Reply, lines: dict[str, PolicyLine]) -> Iterator[ReplyPart]:
    """Rows of a reply, in the order in which the site's app puts it into Flower's records."""
    if reply.refusal:
        named = re.search(r"\(policy\.(\w+)\)", reply.refusal)
        size, reason = len(reply.refusal.encode()), (lines[named[1]],) if named else ()
        yield ReplyPart(kind, "refusal", "refused", "str", None, size, reply.refusal, reason)
        return
    counted = lines["privacy_budget"]
    budget = (counted,) if kind == TRAIN and counted.value != "null" else ()
    scalars: dict[str, Scalar] = {"refusal": reply.refusal, **reply.metrics}
    for name, value in scalars.items():
        policy = (*(lines[n] for n in policy_of(kind, name, is_array=False)), *budget)
        steady = kind in (DESCRIBE, GRADIENTS) or name in STEADY
        steady = steady or name.startswith(("class.", "features."))
        shown = str(value) if steady else ""
        if isinstance(value, str):
            yield ReplyPart(kind, name, "text", "str", None, len(value.encode()), shown, policy)
        else:
            dtype = type(value).__name__
            yield ReplyPart(kind, name, "number", dtype, None, NUMBER_BYTES, shown, policy)
    for name, array in reply.arrays.items():
        policy = (*(lines[n] for n in policy_of(kind, name, is_array=True)), *budget)
        what = "masked" if name.startswith(MASKED_PREFIX) else "array"
        yield ReplyPart(kind, name, what, str(array.dtype), array.shape, array.nbytes, "", policy)
