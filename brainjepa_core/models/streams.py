"""Random numbers of a sample in a step, the same whoever else is in the batch."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator, Philox


def sample_stream(seed: int, step: int, sample: int) -> Generator:
    """A function of these three, independent of those of any other three (as in `masks.draw`)."""
    key, counter = np.array([seed, step], np.uint64), np.array([0, sample, 0, 0], np.uint64)
    return Generator(Philox(key=key, counter=counter))
