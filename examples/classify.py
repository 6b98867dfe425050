"""
A step of a scikit-learn pipeline
=================================

The embedding is a transformer: it stands in pipelines, searches and cross-validation.
"""

from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
from made_series import SETTINGS, TR, made_series
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import brainjepa

series, coupled = made_series(40)

with tempfile.TemporaryDirectory() as folder:
    model = brainjepa.pretrain(series, folder, SETTINGS, tr=TR)

pipeline = make_pipeline(
    brainjepa.SeriesEmbedding(model, tr=TR), StandardScaler(), LogisticRegression(C=0.01)
)
scores = cross_val_score(pipeline, series, coupled, cv=5)
print(f"who couples the two networks: {scores.mean():.0%} right in five folds, 50% by chance")

# %%

plt.bar(range(1, 6), 100 * scores)
plt.axhline(50, color="black", linestyle="--", label="chance")
plt.xlabel("fold")
plt.ylabel("% right")
plt.legend()
plt.show()
