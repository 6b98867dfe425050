"""What each of a model's arrays is for: learned, following what is learned, or fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Roles:
    """Which of a model's arrays are trained, and which follow them, by the start of their names.

    Attributes
    ----------
    trained : tuple of str
        What optimiser steps change and sites send.
    followers : mapping of str to str
        What trails trained arrays as an exponential mean (a teacher), and which ones:
        ``{"target_encoder.": "encoder."}``. All else is fixed, or a buffer.
    embedding : tuple of str
        Which of them `BrainModel.embedder` is made of; all where none is named.
    heads : tuple of str
        Which of the trained ones are trained also where adapters are instead of all weights.
    """

    trained: tuple[str, ...]
    followers: Mapping[str, str]
    embedding: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def is_trained(self, name: str) -> bool:
        """Whether steps change this array."""
        return name.startswith(self.trained)

    def is_follower(self, name: str) -> bool:
        """Whether this array trails a trained one."""
        return name.startswith(tuple(self.followers))

    def leader_of(self, name: str) -> str:
        """The trained array that a follower trails."""
        prefix = next(p for p in self.followers if name.startswith(p))
        return self.followers[prefix] + name.removeprefix(prefix)

    def read(self, names: Iterable[str]) -> list[str]:
        """Names of the arrays that embedding reads, sorted: the embedder's, and what is fixed."""
        moving = self.embedding or ("",)
        return sorted(
            name
            for name in names
            if name.startswith(moving) or not (self.is_trained(name) or self.is_follower(name))
        )

    def sent(self, names: Iterable[str], with_followers: bool) -> list[str]:
        """Names of the arrays of a train reply, sorted."""
        return sorted(
            n for n in names if self.is_trained(n) or (with_followers and self.is_follower(n))
        )
