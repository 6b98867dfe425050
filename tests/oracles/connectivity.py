"""Group connectivity and diffusion maps the slow and plain way: scalar loops, nothing shared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scan = tuple[NDArray[np.float64], NDArray[np.bool_]]  # series [R, F], missing [R]


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    return xy / math.sqrt(xx * yy)


def pooled_fc(subjects: Sequence[Sequence[Scan]]) -> NDArray[np.float64]:
    """Mean over subjects of the mean Fisher z over each one's scans; NaN where never observed."""
    count = len(subjects[0][0][0])
    fc = np.eye(count)
    for i in range(count):
        for j in range(i):
            per_subject = []
            for scans in subjects:
                z = [
                    math.atanh(pearson(list(series[i]), list(series[j])))
                    for series, missing in scans
                    if not missing[i] and not missing[j]
                ]
                if z:
                    per_subject.append(math.fsum(z) / len(z))
            mean = math.fsum(per_subject) / len(per_subject) if per_subject else math.nan
            fc[i, j] = fc[j, i] = math.tanh(mean)
    return fc


def loop_affinity(fc: NDArray[np.float64], keep: int) -> NDArray[np.float64]:
    """Normalized angle between rows cut to their `keep` largest values."""
    count = len(fc)
    rows = []
    for i in range(count):
        largest = sorted(range(count), key=lambda j: -fc[i, j])[:keep]
        rows.append([fc[i, j] if j in largest else 0.0 for j in range(count)])
    result = np.eye(count)
    for i in range(count):
        for j in range(i):
            dot = math.fsum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            size = math.hypot(*rows[i]) * math.hypot(*rows[j])
            cosine = max(-1.0, min(1.0, dot / size))
            result[i, j] = result[j, i] = 1 - math.acos(cosine) / math.pi
    return result


def markov_gradients(
    affinity: NDArray[np.float64], n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right eigenvectors of the Markov matrix itself, by the general solver (not symmetric)."""
    count = len(affinity)
    d = [math.fsum(row) for row in affinity]
    walk = np.array(
        [[affinity[i, j] / math.sqrt(d[i] * d[j]) for j in range(count)] for i in range(count)]
    )
    markov = walk / walk.sum(axis=1, keepdims=True)
    values, vectors = np.linalg.eig(markov)
    order = np.argsort(-values.real)[1 : n_components + 1]
    eigenvalues = values.real[order] / (1 - values.real[order])
    return vectors.real[:, order], eigenvalues
