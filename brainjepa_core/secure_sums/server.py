"""The coordinator's part in one secure sum: it adds what comes, and takes the masks off the total.

It holds one running sum, 4 bytes a number of uint32, and the small messages of the sites. Each step
is asked of the sites that answered the one before; what does not come, or is refused here, is as if
the site were gone. A step ends when enough sites have answered it, and the coordinator says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.secure_sums.agreement import public_of
from brainjepa_core.secure_sums.cancelling import masks_left
from brainjepa_core.secure_sums.dealing import BOX, HASH, KINDS, hash_of_share
from brainjepa_core.secure_sums.masks import add_masks
from brainjepa_core.secure_sums.messages import (
    ALIVE,
    KEYS,
    MASKED,
    SHARES,
    STEPS,
    SUM,
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
from brainjepa_core.secure_sums.shamir import SHARE, join
from brainjepa_core.secure_sums.signing import (
    SiteKeys,
    Story,
    hash_of_keys,
    hash_of_seed,
    parsed_keys,
    read_keys,
)
from brainjepa_core.secure_sums.terms import SumTerms, names_text

Layout = Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
"""dtype and shape of each array of a vector."""


class TooFewSites(ValueError):
    """A step that fewer sites than the threshold have answered."""


class SumServer:
    """A coordinator in one secure sum.

    Parameters
    ----------
    terms : SumTerms
    layout : mapping of str to (dtype, shape)
        What each site's vector has: uint32 or uint64.
    """

    def __init__(self, terms: SumTerms, layout: Layout) -> None:
        self._terms = terms
        self._told: dict[str, dict[str, Message]] = {step: {} for step in STEPS}
        self._ended = 0  # steps
        self._sum = {name: np.zeros(shape, dtype) for name, (dtype, shape) in layout.items()}

    @property
    def step(self) -> str | None:
        """The step at hand; none when all have ended."""
        return STEPS[self._ended] if self._ended < len(STEPS) else None

    @property
    def asked(self) -> tuple[str, ...]:
        """Sites that the step at hand asks: those that answered the one before."""
        return self._answered(STEPS[self._ended - 1]) if self._ended else self._terms.sites

    @property
    def awaited(self) -> tuple[str, ...]:
        """Sites of `asked` that have not answered."""
        answered = self._told[self._step_at_hand()]
        return tuple(site for site in self.asked if site not in answered)

    @property
    def alive(self) -> tuple[str, ...]:
        """Sites whose vectors are in the sum, as far as they came."""
        return self._answered(MASKED)

    def request(self, site: str) -> Message:
        """What the step at hand asks of a site.

        Raises
        ------
        ValueError
            If it does not ask this site.
        """
        step = self._step_at_hand()
        self._require_asked(site)
        return of_sum(self._terms, self._fields(step, site))

    def _fields(self, step: str, site: str) -> Message:
        if step == KEYS:
            return {}
        if step == SHARES:
            return by_site(self._told[KEYS])
        if step == MASKED:
            return {
                f"{dealer}.{name}": dealt[f"{site}.{name}"]
                for dealer, dealt in self._told[SHARES].items()
                for name in ("box", "hashes")
            }
        if step == ALIVE:
            return {"alive": as_field(names_text(self.alive))}
        return by_site(self._told[ALIVE])

    def receive(self, site: str, reply: Mapping[str, NDArray[Any]]) -> None:
        """Take a site's answer to the step at hand; a vector is added to the sum at once.

        Raises
        ------
        ValueError
            If the site is not asked, has answered, or its answer is not what it must be. Nothing
            of a refused answer stays: the site may answer again, or count as gone.
        """
        step = self._step_at_hand()
        self._require_asked(site)
        if site in self._told[step]:
            raise ValueError(
                f"expected one answer of '{site}' to step '{step}' of {self._terms}, found a "
                "second one; leave it out"
            )
        require_of_sum(self._terms, reply)
        fields = {name: value for name, value in reply.items() if name != SUM}
        if step == MASKED:
            self._add(site, fields)
            fields = {}
        else:
            self._judge(step, site, fields)
        self._told[step][site] = fields

    def _judge(self, step: str, site: str, fields: Message) -> None:
        """Refuse an answer that is not what it must be."""
        if step == KEYS:
            read_keys(site, fields, self._terms)
        elif step == SHARES:
            boxes = of_sites(fields)
            _require_names(boxes, self._answered(KEYS), f"boxes of '{site}'")
            for box in boxes.values():
                take(box, "box", BOX)
                take(box, "hashes", len(KINDS) * HASH)
        elif step == ALIVE:
            signature = take(fields, "signature")
            self._story().verify(site, self._keys()[site], signature, self._terms)
        else:
            self._judge_shares(site, of_sites(fields))

    def _judge_shares(self, site: str, shares: Mapping[str, Message]) -> None:
        dealt = self._told[SHARES]
        _require_names(shares, tuple(dealt), f"shares that '{site}' holds")
        for dealer, fields in shares.items():
            share = take(fields, "share", SHARE)
            kind = KINDS.index("self seed" if dealer in self.alive else "mask key")
            hashes = take(dealt[dealer], f"{site}.hashes")
            vouched_for = hashes[kind * HASH : (kind + 1) * HASH]
            if hash_of_share(KINDS[kind], share, dealer, site, self._terms) != vouched_for:
                raise ValueError(
                    f"expected of '{site}' the share that '{dealer}' dealt it, found another: "
                    f"'{site}' lies; leave it out, and ask its manager"
                )

    def _add(self, site: str, fields: Message) -> None:
        vector = {name.removeprefix(VECTOR): array for name, array in fields.items()}
        _require_names(vector, tuple(self._sum), f"vector of '{site}'")
        for name, array in vector.items():
            own = self._sum[name]
            if (array.dtype, array.shape) != (own.dtype, own.shape):
                raise ValueError(
                    f"expected '{name}' of '{site}' as {own.dtype} of shape {list(own.shape)}, "
                    f"found {array.dtype} of shape {list(array.shape[:8])}; check study and "
                    "versions"
                )
        for name, array in vector.items():
            np.add(self._sum[name], array, out=self._sum[name])

    def end_step(self) -> None:
        """Go on to the next step, without those that have not answered this one.

        Raises
        ------
        TooFewSites
            If fewer than the threshold have answered. Nothing is lost by waiting for more; who
            gives up begins the round's next attempt, unless some have told shares.
        """
        step = self._step_at_hand()
        answered, needed = len(self._told[step]), self._terms.threshold
        if answered < needed:
            mend = (
                "drop the round, for some sites have told shares"
                if step == UNMASK and answered
                else "wait for more, or begin another attempt"
            )
            raise TooFewSites(
                f"expected at least {needed} of {len(self._terms.roster)} sites to answer step "
                f"'{step}' of {self._terms}, found {answered}; {mend}"
            )
        self._ended += 1

    def total(self) -> Arrays:
        """The sum of the vectors of all that are `alive`, free of masks; this object ends with it.

        Returns
        -------
        dict of str to ndarray
            As in the layout.

        Raises
        ------
        ValueError
            If a step has not ended, or a site dealt shares of something else than what it signed.
        """
        if self.step is not None:
            raise ValueError(
                f"expected all steps of {self._terms} to have ended, found '{self.step}' at hand; "
                "end it first"
            )
        keys, story = self._keys(), self._story()
        seeds, mask_keys = {}, {}
        for dealer in story.masked:
            secret = self._joined(dealer)
            if dealer in story.alive:
                _require_dealt(dealer, hash_of_seed(secret) == keys[dealer].seed_hash)
                seeds[dealer] = secret
            else:
                _require_dealt(dealer, public_of(secret) == keys[dealer].mask)
                mask_keys[dealer] = secret
        add_masks(self._sum, masks_left(keys, story, seeds, mask_keys))
        total, self._sum = self._sum, {}
        return total

    def _joined(self, dealer: str) -> bytes:
        shares = {
            self._terms.sites.index(site) + 1: take(told, f"{dealer}.share")
            for site, told in self._told[UNMASK].items()
        }
        try:
            return join(shares, self._terms.threshold)
        except ValueError:
            _require_dealt(dealer, False)
            raise

    def to_arrays(self) -> Arrays:
        """All that this object holds, to be on disk before `unmask` is asked."""
        told = {
            f"{step}.{site}.{name}": value
            for step, of_step in self._told.items()
            for site, fields in of_step.items()
            for name, value in (fields or {"": as_field(b"")}).items()
        }
        vector = {VECTOR + name: array for name, array in self._sum.items()}
        return {"ended": np.array(self._ended), **told, **vector}

    @classmethod
    def from_arrays(cls, terms: SumTerms, arrays: Mapping[str, NDArray[Any]]) -> SumServer:
        """What `to_arrays` gave; vectors are copied where they are for reading only."""
        server = cls(terms, {})
        server._ended = int(arrays["ended"])
        for whole, value in arrays.items():
            if whole.startswith(VECTOR):
                server._sum[whole.removeprefix(VECTOR)] = np.require(value, requirements="W")
            elif whole != "ended":
                step, site, name = whole.split(".", 2)
                fields = server._told[step].setdefault(site, {})
                if name:
                    fields[name] = value
        return server

    def _step_at_hand(self) -> str:
        if self.step is None:
            raise ValueError(f"expected a step of {self._terms} at hand, found that all have ended")
        return self.step

    def _answered(self, step: str) -> tuple[str, ...]:
        return tuple(sorted(self._told[step]))

    def _keys(self) -> dict[str, SiteKeys]:
        return {site: parsed_keys(told) for site, told in sorted(self._told[KEYS].items())}

    def _story(self) -> Story:
        keys = hash_of_keys(self._terms, self._keys())
        return Story(keys, self._answered(SHARES), self.alive)

    def _require_asked(self, site: str) -> None:
        if site not in self.asked:
            raise ValueError(
                f"expected one of {', '.join(self.asked)[:200]} in step '{self._step_at_hand()}' "
                f"of {self._terms}, found '{site[:40]}'; leave it out"
            )


def layout_of(vector: Mapping[str, NDArray[Any]]) -> dict[str, tuple[DTypeLike, tuple[int, ...]]]:
    """The layout of a vector."""
    return {name: (array.dtype, array.shape) for name, array in vector.items()}


def _require_names(found: Mapping[str, Any], expected: tuple[str, ...], what: str) -> None:
    if set(found) != set(expected):
        strange = sorted(set(found) ^ set(expected))
        raise ValueError(
            f"expected the {what} for {len(expected)} names, found that "
            f"{', '.join(strange)[:200]} are missing or too many; leave it out"
        )


def _require_dealt(dealer: str, as_signed: bool) -> None:
    if not as_signed:
        raise ValueError(
            f"expected shares of the secret that '{dealer}' signed for, found others: '{dealer}' "
            "dealt wrong ones; drop the round, and ask its manager"
        )
