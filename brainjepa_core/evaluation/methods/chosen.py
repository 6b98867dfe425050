"""Rows that a table has when they are asked for by name, since they take long.

Features each with the two estimators that connectivity has; networks that learn from connectivity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures, Features
from brainjepa_core.evaluation.features.coskewness import CoskewnessFeatures
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.features.spaces import consensus_basis, consensus_tangent
from brainjepa_core.evaluation.methods.baselines import estimator_name
from brainjepa_core.evaluation.methods.feature_methods import Estimator, FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.model_methods import network_methods
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.models.registry import learners
from brainjepa_core.signals.windows import Windows

ALL = "all"
ESTIMATORS: tuple[Estimator, ...] = ("linear", "svm")


class Sources(NamedTuple):
    """What features are made of; each keeps what it has computed for all that ask."""

    connectivity: ConnectivityFeatures
    signals: SignalReadOuts
    coskewness: CoskewnessFeatures


# By the name that asks for them: title, and features.
FEATURES: dict[str, tuple[str, Callable[[Sources], Features]]] = {
    "tangent": ("FC tangent", lambda of: of.connectivity.of("tangent")),
    "consensus_tangent": ("FC consensus tangent", lambda of: consensus_tangent(of.signals)),
    "consensus_basis": ("FC consensus basis", lambda of: consensus_basis(of.signals)),
    "coskewness": ("FC co-skewness", lambda of: of.coskewness.features()),
}


def names_of_methods() -> tuple[str, ...]:
    """All that can be asked for: features, and families that learn from labels alone."""
    return (*FEATURES, *learners())


def methods_named(text: str) -> tuple[str, ...]:
    """Names meant by ``tangent,braingnn``, or by ``all``; none by an empty text.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    known = names_of_methods()
    if text.strip() == ALL:
        return known
    asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(
            f"expected methods among {', '.join(known)}, or {ALL}, found '{unknown[0]}'; take "
            "these, with commas between them"
        )
    return tuple(name for name in known if name in asked)


def chosen_methods(
    names: Sequence[str],
    windows: Windows,
    data: TaskData,
    signals: SignalReadOuts,
    cache: Path | None = None,
    device: str = "cpu",
    directions: Float64 | None = None,
) -> list[Method]:
    """Methods of these names.

    Parameters
    ----------
    names : sequence of str
        Of `names_of_methods`.
    windows : Windows
    data : TaskData
    signals : SignalReadOuts
        Of the same windows.
    cache : path, optional
        As of `ConnectivityFeatures`.
    device : str
        Where networks are trained.
    directions : ndarray of float64 [R, m], optional
        As of `CoskewnessFeatures`.
    """
    connectivity = ConnectivityFeatures(windows, cache)
    sources = Sources(connectivity, signals, CoskewnessFeatures(windows, cache, directions))
    methods: list[Method] = []
    for name in FEATURES:
        if name in names:
            title, make = FEATURES[name]
            features = make(sources)
            methods += [
                FeatureMethod(f"{title} + {estimator_name(data, estimator)}", features, estimator)
                for estimator in ESTIMATORS
            ]
    asked = [learner for name, learner in learners().items() if name in names]
    return [*methods, *network_methods(windows, data, connectivity, asked, device)]
