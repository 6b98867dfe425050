"""Pretrain a small model on arrays, load it again, and embed a scan."""

from __future__ import annotations

import tempfile

from made_series import SETTINGS, TR, made_series

import brainjepa

series, _ = made_series(24)

with tempfile.TemporaryDirectory() as folder:
    brainjepa.pretrain(series, f"{folder}/run", SETTINGS, tr=TR)
    model = brainjepa.load(f"{folder}/run")

vector = model.embed(series[0], tr=TR)
tokens = model.tokens(series[0], tr=TR)
print(f"one scan as a vector of {len(vector)} numbers, and as tokens {tokens.shape}")

# A scan of another scanner and length, whose rows come in another order and lack an ROI.
other, names = made_series(1, seed=9)[0][0][::-1][1:, :90], list(model.rois)[::-1][1:]
print(f"another: {model.embed(other, tr=0.8, rois=names).shape}")
