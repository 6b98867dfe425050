"""Chance that only a site can foretell: a function of its secret, the request and the step.

So a repeated request gives the same bits, which cost nothing more, and a coordinator that knows
settings, seeds and everybody's number knows neither who is in a step nor the noise. Each use has a
key of its own, HMAC-SHA256 of (use, request, step) under the secret, and with it a stream of
AES-256 in counter mode: without the key it cannot be told from chance.
"""

from __future__ import annotations

import hmac
import json
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.extras import require

LEAST = 32  # bytes of a secret
AT_ONCE = 1 << 14  # pairs of normal numbers: few enough for the processor's cache
FORMAT = 1  # raised when equal secrets give other numbers


class Stream:
    """An endless stream of 64-bit words under one key.

    Parameters
    ----------
    key : bytes
        32 of them, used for nothing else.
    """

    def __init__(self, key: bytes) -> None:
        require("cryptography")
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def words(self, number: int) -> NDArray[np.uint64]:
        """The next words, uniform over 0 .. 2**64 - 1."""
        return np.frombuffer(self._cipher.update(bytes(8 * number)), np.dtype("<u8"))

    def normals(self, number: int) -> Tensor:
        """The next independent standard normal numbers, float64 (Box and Muller, 1958)."""
        pairs = (number + 1) // 2
        words = self.words(2 * pairs).reshape(2, pairs)
        normals = torch.empty(2, pairs, dtype=torch.float64)
        for first in range(0, pairs, AT_ONCE):
            part = slice(first, first + AT_ONCE)
            # The upper 53 bits as the middles of 2**53 equal parts: neither 0 nor 1.
            bits = torch.from_numpy((words[:, part] >> np.uint64(11)).view(np.int64))
            radius, angle = bits.double().add_(0.5).mul_(2.0**-53)
            radius.log_().mul_(-2).sqrt_()
            angle.mul_(2 * math.pi)
            torch.mul(radius, angle.cos(), out=normals[0, part])
            torch.mul(radius, angle.sin_(), out=normals[1, part])
        return normals.view(-1)[:number]


@dataclass(frozen=True)
class RequestSecret:
    """A site's secret, for one request.

    Attributes
    ----------
    secret : bytes
        At least 32, drawn by the site, which shows them to nobody.
    request : str
        Hash of all that the coordinator asked.

    Raises
    ------
    ValueError
        If the secret is too short.
    """

    secret: bytes = field(repr=False)
    request: str

    def __post_init__(self) -> None:
        if len(self.secret) < LEAST:
            raise ValueError(
                f"expected a site's secret of at least {LEAST} bytes, found {len(self.secret)}; "
                "draw one (secrets.token_bytes)"
            )

    def stream(self, use: str, step: int) -> Stream:
        """The stream of one use at one step."""
        told = json.dumps(["brainjepa differential privacy", FORMAT, use, self.request, step])
        return Stream(hmac.digest(self.secret, told.encode(), "sha256"))
