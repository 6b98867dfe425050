"""Random numbers of a sample in a step, the same whoever else is in the batch."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator, Philox


def sample_stream(seed: int, step: int, sample: int, mask: int = 0, draw: int = 0) -> Generator:
    """Random numbers that are a function of these five, independent of those of any other five.

    Philox is a bijection of its counter, so streams whose counters differ in the upper words
    never meet; and it takes the numbers as they are, where a SeedSequence would hash them first.

    Raises
    ------
    ValueError
        If a number is negative, or has more than 64 bits.
    """
    try:
        key = np.array([seed, step], np.uint64)
        counter = np.array([0, sample, mask, draw], np.uint64)
    except OverflowError:
        raise ValueError(
            "expected seed, step, sample and mask from 0 to 2**64 - 1, found "
            f"{seed}, {step}, {sample} and {mask}; number them from 0"
        ) from None
    return Generator(Philox(key=key, counter=counter))
