"""A site's part in one secure sum: five answers, each a function of its secret and its memory.

A site that was killed, or that is asked again, gives the same bytes; asked for something else, it
refuses. So nothing of this is kept but what `SumMemory` has on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.secure_sums.agreement import derive, own_keys
from brainjepa_core.secure_sums.cancelling import masks_of_site
from brainjepa_core.secure_sums.dealing import Shares, deal, open_box
from brainjepa_core.secure_sums.masks import add_masks
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import (
    ALIVE,
    MASKED,
    SHARES,
    UNMASK,
    VECTOR,
    Message,
    as_field,
    by_site,
    of_sites,
    of_sum,
    require_of_sum,
    take,
)
from brainjepa_core.secure_sums.signing import (
    SiteKeys,
    Story,
    hash_of_keys,
    parsed_keys,
    read_keys,
    signed_keys,
)
from brainjepa_core.secure_sums.terms import SumTerms, names_text

_VECTOR = "vector"  # what the memory calls the digest of the vector that was masked


class SumSite:
    """One site in one secure sum.

    Parameters
    ----------
    name : str
        Of the site, in the roster.
    key : ec.EllipticCurvePrivateKey
        Of the consortium.
    terms : SumTerms
        By the contract that the site has approved.
    memory : SumMemory
    """

    def __init__(
        self, name: str, key: ec.EllipticCurvePrivateKey, terms: SumTerms, memory: SumMemory
    ) -> None:
        self._name, self._key, self._terms, self._memory = name, key, terms, memory
        self._secret = memory.secret
        self._own = own_keys(self._secret, terms.hash)

    @property
    def rounding(self) -> bytes:
        """Key (32 bytes) of the random rounding of this sum's numbers; the site's alone."""
        return derive(self._secret, "rounding", self._terms.hash)

    def keys(self, request: Message) -> Message:
        """Public keys of this sum, signed.

        Raises
        ------
        ValueError
            If the site is not in the roster, or has begun another sum of this round that stands.
        """
        require_of_sum(self._terms, request)
        self._require_here(self._terms.sites, "the roster")
        self._memory.begin(self._terms)
        return signed_keys(self._name, self._key, self._terms, self._own)

    def shares(self, request: Message) -> Message:
        """Shares of this site's secrets, sealed for each site whose keys came.

        Parameters
        ----------
        request : Message
            Keys of these sites.

        Raises
        ------
        ValueError
            If a key is not the site's own, too few came, or others came before.
        """
        require_of_sum(self._terms, request)
        keys = {name: read_keys(name, own, self._terms) for name, own in of_sites(request).items()}
        self._require_enough(tuple(keys), "keys")
        self._require_here(tuple(keys), "those whose keys came")
        self._memory.note(self._terms, SHARES, request)
        dealt = deal(self._name, self._secret, self._own, keys, self._terms)
        return of_sum(self._terms, by_site(dealt))

    def masked(self, request: Message, vector: Arrays) -> Message:
        """The site's vector under its masks.

        Parameters
        ----------
        request : Message
            Boxes that other sites sealed for this one.
        vector : dict of str to ndarray of uint32 or uint64
            What is summed; **masked in place**, so that no second copy is needed.

        Raises
        ------
        ValueError
            If a box is not for this site, too few came, other ones came before, or another vector
            was masked before.
        """
        require_of_sum(self._terms, request)
        keys = self._keys()
        held = self._opened(request, keys)
        self._require_enough(tuple(held), "boxes")
        self._require_here(tuple(held), "those whose boxes came")
        self._memory.note(self._terms, MASKED, request)
        story_keys = hash_of_keys(self._terms, keys)
        add_masks(vector, masks_of_site(self._name, self._own, keys, story_keys, held))
        self._memory.note(self._terms, _VECTOR, {"digest": as_field(_digest(vector))})
        return of_sum(self._terms, {VECTOR + name: array for name, array in vector.items()})

    def alive(self, request: Message) -> Message:
        """Signature on the story of who took part.

        Parameters
        ----------
        request : Message
            Names of the sites whose vectors came.

        Raises
        ------
        ValueError
            If this site is not among them or too few are, or others were named before.
        """
        require_of_sum(self._terms, request)
        self._memory.told(self._terms, _VECTOR)
        story = self._story(request)
        self._require_enough(story.alive, "vectors")
        self._require_here(story.alive, "those whose vectors came")
        strange = set(story.alive) - set(story.masked)
        if strange:
            raise ValueError(
                f"expected vectors of sites that masks are between, found '{min(strange)[:40]}' "
                "too; begin another attempt"
            )
        self._memory.note(self._terms, ALIVE, request)
        signature = as_field(story.sign(self._key, self._terms))
        return of_sum(self._terms, {"signature": signature})

    def unmask(self, request: Message) -> Message:
        """Shares that take the masks off the sum.

        Of each site that is alive the share of its seed, of each that is gone that of its mask key.
        From now on nothing is told of any other sum of this round.

        Parameters
        ----------
        request : Message
            Signatures of sites on the story that this one signed.

        Raises
        ------
        ValueError
            If too few signed it, or one signed another.
        """
        require_of_sum(self._terms, request)
        keys = self._keys()
        held = self._opened(self._memory.told(self._terms, MASKED), keys)
        story = self._story(self._memory.told(self._terms, ALIVE))
        signed = of_sites(request)
        for name, fields in signed.items():
            if name not in story.alive:
                raise ValueError(
                    f"expected signatures of sites whose vectors came, found one of '{name}'; "
                    "begin another attempt"
                )
            story.verify(name, keys[name], take(fields, "signature"), self._terms)
        self._require_enough(tuple(signed), "signatures")
        self._memory.note(self._terms, UNMASK, {})
        told = {
            name: {"share": as_field(shares.seed if name in story.alive else shares.mask)}
            for name, shares in held.items()
        }
        return of_sum(self._terms, by_site(told))

    def _keys(self) -> dict[str, SiteKeys]:
        """Of all that the coordinator handed on, which `shares` verified."""
        handed_on = of_sites(self._memory.told(self._terms, SHARES))
        return {name: parsed_keys(own) for name, own in handed_on.items()}

    def _opened(self, boxes: Message, keys: Mapping[str, SiteKeys]) -> dict[str, Shares]:
        opened = {}
        for dealer, box in of_sites(boxes).items():
            if dealer not in keys:
                raise ValueError(
                    f"expected boxes of sites whose keys came, found one of '{dealer}'; begin "
                    "another attempt"
                )
            opened[dealer] = open_box(dealer, box, self._name, self._own, keys[dealer], self._terms)
        return opened

    def _story(self, request: Message) -> Story:
        text = take(request, "alive")
        alive = tuple(text.decode("ascii", "replace").split("\n"))
        if names_text(tuple(set(alive))) != text:
            raise ValueError(
                "expected names of sites, each once and in order, found something else; bring "
                "coordinator and site to one version"
            )
        masked = tuple(of_sites(self._memory.told(self._terms, MASKED)))
        return Story(hash_of_keys(self._terms, self._keys()), masked, alive)

    def _require_enough(self, names: tuple[str, ...], what: str) -> None:
        if len(names) < self._terms.threshold:
            raise ValueError(
                f"expected {what} of at least {self._terms.threshold} of "
                f"{len(self._terms.roster)} sites in {self._terms}, found {len(names)}; begin "
                "another attempt when enough sites are there"
            )

    def _require_here(self, names: tuple[str, ...], where: str) -> None:
        if self._name not in names:
            raise ValueError(
                f"expected this site, '{self._name}', in {where} of {self._terms}, found "
                f"{', '.join(names)[:200]}; leave it out of this sum, or begin another attempt"
            )


def _digest(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """SHA-256 (32 bytes) of arrays with their names, shapes and dtypes."""
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        whole.update(f"{name}\n{array.dtype.name}\n{array.shape}\n".encode())
        whole.update(array.reshape(-1).view(np.uint8).data)
    return whole.digest()
