"""What all sites of one secure sum agree on before it begins; its hash is in all that they sign."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

from brainjepa_core.consortium.names import SITE_NAME, shown
from brainjepa_core.consortium.summing import threshold

_HASH = re.compile("[0-9a-f]{64}")
_QUESTION = re.compile("[a-z0-9_-]{1,64}")


@dataclass(frozen=True)
class SumTerms:
    """One secure sum. A site makes this of the contract on its own disk, never of a message.

    Attributes
    ----------
    consortium : str
        Its name.
    contract : str
        SHA-256 (hex) of the contract.
    question : str
        What is summed, such as ``train``: the one name of it in the contract.
    round : int
        From 0.
    request : str
        SHA-256 (hex) of the request that the sum is the answer to.
    roster : mapping of str to str
        Fingerprint of each site's consortium key (`consortium.fingerprints.of_key`), by name:
        all sites that may take part, as the contract has them, or one group of them.
    attempt : int
        From 0; a round of which nothing was unmasked may be tried again under the next number.
    """

    consortium: str
    contract: str
    question: str
    round: int
    request: str
    roster: Mapping[str, str]
    attempt: int = 0

    def __post_init__(self) -> None:
        threshold(len(self.roster))
        object.__setattr__(self, "roster", dict(sorted(self.roster.items())))
        wrong = [name for name in self.roster if not SITE_NAME.fullmatch(name)]
        if wrong or len(set(self.roster.values())) < len(self.roster):
            found = shown(wrong[0]) if wrong else "one key under two names"
            raise ValueError(
                f"expected names of sites, each with a key of its own, found {found}; take the "
                "roster of the contract"
            )
        for what, text, form in (
            ("contract", self.contract, _HASH),
            ("request", self.request, _HASH),
            ("question", self.question, _QUESTION),
        ):
            if not form.fullmatch(text):
                raise ValueError(
                    f"expected the {what} of a secure sum as {form.pattern}, found {shown(text)}; "
                    "take it from the contract and the request"
                )
        if self.round < 0 or self.attempt < 0:
            raise ValueError(
                f"expected round and attempt counted from 0, found {self.round} and "
                f"{self.attempt}; take them from the request"
            )

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the roster, in order."""
        return tuple(self.roster)

    @property
    def threshold(self) -> int:
        """How many sites each step needs."""
        return threshold(len(self.roster))

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 (32 bytes) of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()

    def __str__(self) -> str:
        """What errors call it; people count from 1."""
        return (
            f"the secure sum of '{self.question}', round {self.round + 1}, attempt "
            f"{self.attempt + 1}"
        )


def statement(about: str, *parts: bytes) -> bytes:
    """Bytes to sign, hash or derive keys for: what they are about, then parts with their lengths.

    No two statements have the same bytes, and none those of anything else that a key signs.
    """
    whole = [b"brainjepa secure sum 1", about.encode(), *parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in whole)


def names_text(names: tuple[str, ...]) -> bytes:
    """Names of sites, in order, as bytes."""
    return "\n".join(sorted(names)).encode()
