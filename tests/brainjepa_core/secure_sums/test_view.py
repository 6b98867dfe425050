"""What a coordinator sees of one site: uniform bytes."""

from __future__ import annotations

import numpy as np
from made_sums import Sum, name

from brainjepa_core.secure_sums import site as site_module
from brainjepa_core.secure_sums.encoding.updates import UpdateCode
from brainjepa_core.secure_sums.messages import MASKED


def chi_square(array: np.ndarray) -> float:
    """Of its bytes against uniform ones: 255 degrees of freedom, mean 255, sd 22.6."""
    found = np.bincount(array.reshape(-1).view(np.uint8), minlength=256)
    expected = found.sum() / 256
    return float(np.square(found - expected).sum() / expected)


def masked_update(folder, monkeypatch) -> np.ndarray:
    """A million numbers of one site, as they leave it, whatever is random drawn from a seed."""
    monkeypatch.setattr(
        "brainjepa_core.secure_sums.memory.secrets.token_bytes",
        lambda size: np.random.default_rng(7).bytes(size),
    )
    made, rng = Sum(folder, 3), np.random.default_rng(0)
    code = UpdateCode(norm=10, reach=0.01, sites=3)
    made.until(MASKED)
    site = made.site(0)
    update = {"w": rng.normal(0, 1e-3, 1_000_000).astype(np.float32)}
    encoded = code.encode(update, 1, site.rounding)
    return site.masked(made.server.request(name(0)), encoded)["vector.w"]


def test_the_bytes_of_one_site_are_uniform(tmp_path, monkeypatch):
    """Within five standard deviations, each byte of a number too."""
    seen = masked_update(tmp_path, monkeypatch)
    assert abs(chi_square(seen) - 255) < 5 * 22.6
    for byte in range(4):
        column = np.ascontiguousarray(seen.view(np.uint8).reshape(-1, 4)[:, byte])
        assert abs(chi_square(column) - 255) < 5 * 22.6


def test_without_masks_they_are_not(tmp_path, monkeypatch):
    """The positive control of the test above."""
    monkeypatch.setattr(site_module, "add_masks", lambda arrays, masks: None)
    assert chi_square(masked_update(tmp_path, monkeypatch)) > 100_000
