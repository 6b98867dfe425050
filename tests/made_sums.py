"""Sites and a coordinator of a secure sum, each step by hand or all at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from brainjepa_core.arrays import Arrays
from brainjepa_core.consortium import fingerprints
from brainjepa_core.secure_sums.in_memory import answer
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import Message
from brainjepa_core.secure_sums.server import SumServer, layout_of
from brainjepa_core.secure_sums.site import SumSite
from brainjepa_core.secure_sums.terms import SumTerms


@cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    """Of site `number`, or of somebody who is none (from 100)."""
    return ec.generate_private_key(ec.SECP384R1())


def name(number: int) -> str:
    return f"site-{number:02d}"


def terms(sites: int, **changed: Any) -> SumTerms:
    roster = {name(n): fingerprints.of_key(key(n).public_key()) for n in range(sites)}
    told = {
        "consortium": "Three hospitals",
        "contract": "c" * 64,
        "question": "train",
        "round": 2,
        "request": "e" * 64,
        "roster": roster,
    }
    return SumTerms(**{**told, **changed})


def vector(number: int) -> Arrays:
    """Whatever a site may have: all values that integers can have, of any shape."""
    rng = np.random.default_rng(number)
    return {
        "weights": rng.integers(0, 2**32, (3, 2), np.uint32),
        "z_sum": rng.integers(0, 2**64, 5, np.uint64),
        "share": rng.integers(0, 2**32, 1, np.uint32),
    }


def pooled(vectors: list[Arrays]) -> dict[str, list[int]]:
    """Sum in Python's integers."""
    return {
        field: [
            sum(int(one[field].flat[at]) for one in vectors) % 2 ** (8 * value.itemsize)
            for at in range(value.size)
        ]
        for field, value in vectors[0].items()
    }


def listed(arrays: Mapping[str, Any]) -> dict[str, list[int]]:
    return {field: [int(x) for x in np.ravel(value)] for field, value in arrays.items()}


def without(message: Message, number: int) -> Message:
    """A message that lacks what is of one site."""
    return {f: value for f, value in message.items() if not f.startswith(f"{name(number)}.")}


class Sum:
    """Some sites, their folders and their coordinator, in one sum."""

    def __init__(self, folder: Path, sites: int, **changed: Any) -> None:
        self.folder, self.terms = folder, terms(sites, **changed)
        self.server = SumServer(self.terms, layout_of(vector(0)))

    def site(self, number: int, **other: Any) -> SumSite:
        """As it is after a start: what it knows is on its disk."""
        memory = SumMemory(self.folder / name(number))
        return SumSite(name(number), key(number), other.get("terms", self.terms), memory)

    def answer(self, number: int, request: Message | None = None) -> Message:
        """What a site answers to the step at hand."""
        request = self.server.request(name(number)) if request is None else request
        return answer(self.site(number), self.server.step, request, vector(number))

    def step(self, *numbers: int) -> None:
        """The step at hand, answered by these sites, or by all that are asked."""
        for site in [name(n) for n in numbers] or self.server.asked:
            self.server.receive(site, self.answer(int(site[-2:])))
        self.server.end_step()

    def until(self, step: str) -> None:
        """All steps before this one, answered by all."""
        while self.server.step != step:
            self.step()
