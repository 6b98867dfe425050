"""Read-outs of connectivity as methods: kernel ridge regression, centred by hospital or not.

Where features are centred by hospital, each one subtracts the mean of its own people's features:
local, without labels, and nothing leaves. The target is then learned within hospitals too, since
what distinguishes them is no longer in the features.

Shapes: n people, P features, Q outcomes, t tested people, K classes, C columns of covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.features.readouts import SignalReadOuts, heard_by_probe
from brainjepa_core.evaluation.readout.centring import (
    centred_on,
    centres_of,
    levels_of,
    training_means,
)
from brainjepa_core.evaluation.readout.kernel_ridge import (
    centred_kernel,
    linear_kernel,
    ridge_predictions,
    sum_of_kernels,
)
from brainjepa_core.evaluation.tasks.protocols import Index, Split, require_classes
from brainjepa_core.evaluation.tasks.settings import TaskData

CENTRED = ", site-centred"
_BOTH = "connectivity 0.01-0.1 Hz + log-connectivity"
BAR = _BOTH + CENTRED  # of the signals: what every model has to beat
PROBES = ("probe", "probe and FC")  # of each model
_LATENT = ("latent connectivity", "latent log-connectivity")
LATENT_ROWS = tuple(kind + centred for kind in _LATENT for centred in ("", CENTRED))


class ReadOut:
    """A read-out of everybody; its latest kernels are kept, since rows of a table share them.

    Parameters
    ----------
    features : ndarray [people of the windows, P] or callable
        As of `feature_methods.FeatureMethod`. Missing values are NaN and count as the mean.
    """

    def __init__(self, features: NDArray[np.floating] | Features) -> None:
        self._features = features
        self._kept: dict[bool, tuple[bytes, Float64]] = {}

    def features(self, data: TaskData, training: Index) -> NDArray[np.floating]:
        """Features [n, P] of the task's people, as they are."""
        given = self._features
        return given(data, training) if callable(given) else given[data.people]

    def kernel(self, data: TaskData, training: Index, test: Index, centred: bool) -> Float64:
        """Kernel of the training people, then the tested ones; freed of centres and covariates."""
        parts = (data.people, data.sites, data.covariates, training, test)
        key = b"/".join(part.tobytes() for part in parts)
        if centred not in self._kept or self._kept[centred][0] != key:
            groups = groups_of(data, centred)
            centres, rows = centres_of(groups, training, test), np.concatenate([training, test])
            x = self.features(data, training)
            covariates, own = centred_on(data.covariates, centres)[rows], np.arange(len(training))
            kept = _without(covariates, centred_on(x, centres)[rows], own)
            self._kept[centred] = key, linear_kernel(kept, own)
        return self._kept[centred][1]


@dataclass(frozen=True, eq=False)
class ReadOutMethod:
    """Kernel ridge regression on one read-out, or on the sum of the kernels of several.

    Everything is fitted on the training and validation rows (a consensus, means, what covariates
    explain, the penalty by leaving one person out), but for the centre of a tested hospital
    that has no training people: that is the mean of its own tested people's features.

    Attributes
    ----------
    name : str
    readouts : sequence of ReadOut
    centred : bool
        By hospital; else by the training people's mean.
    of_values : sequence of ReadOut
        Heard in the place of `readouts` where a value is to be predicted; by default the same.
    """

    name: str
    readouts: Sequence[ReadOut]
    centred: bool = False
    of_values: Sequence[ReadOut] = ()

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t], or scores [t, K]: by how much a person is likelier than people are.

        Raises
        ------
        ValueError
            If the training rows are of one class.
        """
        training = np.union1d(split.train, split.validation)
        return self._fit(data, training, split.test, self._kernel(data, training, split.test))

    def predict_labelled(
        self, data: TaskData, splits: Sequence[Split], everybody: Index
    ) -> list[Float64]:
        """The same where only a split's training rows have labels, and everybody's scans serve.

        Centres, consensus and what covariates explain are of `everybody`; the splits, which test
        the same rows, have their training rows among them.
        """
        test = splits[0].test
        kernel = self._kernel(data, everybody, test)
        last = np.arange(len(everybody), len(kernel))
        found = []
        for split in splits:
            rows = np.concatenate([np.searchsorted(everybody, split.train), last])
            own = kernel[np.ix_(rows, rows)]
            found.append(self._fit(data, split.train, test, centred_kernel(own, len(split.train))))
        return found

    def _kernel(self, data: TaskData, training: Index, test: Index) -> Float64:
        values = data.task.kind == "regression"
        heard = self.of_values if values and self.of_values else self.readouts
        kernels = [readout.kernel(data, training, test, self.centred) for readout in heard]
        return sum_of_kernels(kernels)

    def _fit(self, data: TaskData, training: Index, test: Index, kernel: Float64) -> Float64:
        """Predict by a kernel of the training rows, then the tested ones."""
        groups = groups_of(data, self.centred)
        own, tested = np.arange(len(training)), slice(len(training), None)
        beside = levels_of(groups[training], data.covariates[training])
        if data.task.kind == "classification":
            require_classes(data, training)
            told = np.eye(len(data.classes))[data.target.astype(np.int64)]
            left = (told - training_means(told, groups, training))[training]
            return ridge_predictions(kernel, left, own, beside)[tested]
        by_covariates = target_of_covariates(data, training)
        told = (data.target - by_covariates)[:, None]
        means = training_means(told, groups, training)
        left = (told - means)[training]
        base = means[test, 0] + by_covariates[test]
        values: Float64 = ridge_predictions(kernel, left, own, beside)[tested, 0] + base
        return values


def groups_of(data: TaskData, centred: bool) -> NDArray[np.generic]:
    """Whose means are taken out together [n]: hospitals, or everybody."""
    return data.sites if centred else np.zeros(len(data), np.int64)


def _without(
    covariates: NDArray[np.floating], features: NDArray[np.floating], training: Index
) -> NDArray[np.floating]:
    """Features less what covariates explain of them in training; both are centred."""
    if not covariates.shape[1]:
        return features
    weights = np.linalg.lstsq(covariates[training], features[training], rcond=None)[0]
    left: NDArray[np.floating] = features - covariates @ weights
    return left


def signal_methods(signals: SignalReadOuts) -> list[ReadOutMethod]:
    """Rows of the signals' own read-outs, the bar of every model: as they are, and site-centred."""
    pairs, slow = ReadOut(signals.pairs), ReadOut(signals.slow_pairs)
    log = ReadOut(signals.log_connectivity())
    rows = {
        "connectivity": (pairs,),
        "connectivity 0.01-0.1 Hz": (slow,),
        "log-connectivity": (log,),
        _BOTH: (slow, log),
    }
    return [
        ReadOutMethod(name + (CENTRED if centred else ""), readouts, centred)
        for name, readouts in rows.items()
        for centred in (False, True)
    ]


def latent_methods(name: str, pairs: Float32, signals: SignalReadOuts) -> list[ReadOutMethod]:
    """Rows of a network's read-outs.

    Parameters
    ----------
    name : str
        Of the model.
    pairs : ndarray [people of the windows, E]
        Fisher z of everybody's latent connectivity.
    signals : SignalReadOuts
        Of the same people.

    Returns
    -------
    list of ReadOutMethod
        The probe that models are compared by (`heard_by_probe`, site-centred); its log-connectivity
        joined with the signals' slow connectivity; each read-out alone.
    """
    latent, log = ReadOut(pairs), ReadOut(signals.log_connectivity(pairs))
    slow = ReadOut(signals.slow_pairs)
    named = {"latent_connectivity": latent, "latent_log_connectivity": log}
    classes, values = (
        tuple(named[readout] for readout in heard_by_probe(kind))
        for kind in ("classification", "regression")
    )
    probe, beside = PROBES
    alone = ((readout, centred) for readout in (latent, log) for centred in (False, True))
    return [
        ReadOutMethod(f"{name}: {probe}", classes, True, values),
        ReadOutMethod(f"{name}: {beside}", (log, slow), True),
        *(
            ReadOutMethod(f"{name}: {row}", (readout,), centred)
            for row, (readout, centred) in zip(LATENT_ROWS, alone, strict=True)
        ),
    ]
