"""Which masks a site adds, and which of them are left in the sum when some sites are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from brainjepa_core.secure_sums.agreement import OwnKeys, derive, pair_key
from brainjepa_core.secure_sums.masks import Mask
from brainjepa_core.secure_sums.signing import SiteKeys, Story


def masks_of_site(
    name: str, own: OwnKeys, keys: Mapping[str, SiteKeys], story_keys: bytes, masked: Iterable[str]
) -> list[Mask]:
    """Masks that a site adds to its vector: its own, and one with each other site.

    Parameters
    ----------
    name : str
    own : OwnKeys
    keys : mapping of str to SiteKeys
    story_keys : bytes
        `hash_of_keys`: two sites that were handed different keys have masks that do not cancel.
    masked : iterable of str
        Sites that masks are between, `name` among them.
    """
    pairs = (
        _pair_mask(name, own.mask, other, keys[other].mask, story_keys)
        for other in masked
        if other != name
    )
    return [_self_mask(own.seed, story_keys), *pairs]


def masks_left(
    keys: Mapping[str, SiteKeys],
    story: Story,
    seeds: Mapping[str, bytes],
    mask_keys: Mapping[str, bytes],
) -> list[Mask]:
    """What has to be added to the sum of the living, so that no mask is left in it.

    Parameters
    ----------
    keys : mapping of str to SiteKeys
    story : Story
    seeds : mapping of str to bytes
        Of the own mask of each site that is alive.
    mask_keys : mapping of str to bytes
        Private key of each site that is gone.
    """
    left = [_self_mask(seeds[name], story.keys) for name in story.alive]
    left += [
        # Of either side's private key the same mask comes, with the sign of the one that is alive.
        _opposite(_pair_mask(gone, private, name, keys[name].mask, story.keys))
        for gone, private in mask_keys.items()
        for name in story.alive
    ]
    return [_opposite(mask) for mask in left]


def _self_mask(seed: bytes, story_keys: bytes) -> Mask:
    return Mask(derive(seed, "self mask", story_keys), added=True)


def _pair_mask(name: str, private: bytes, other: str, public: bytes, story_keys: bytes) -> Mask:
    """As `name` adds it: the first of the two in order adds the stream, the second takes it off."""
    pair = (one.encode() for one in sorted((name, other)))
    return Mask(pair_key(private, public, "mask", story_keys, *pair), added=name < other)


def _opposite(mask: Mask) -> Mask:
    return Mask(mask.key, not mask.added)
