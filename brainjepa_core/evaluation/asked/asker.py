"""Everything that a hospital asks beside the table, of people at other hospitals than trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.evaluation.asked.few_labels import few_labels
from brainjepa_core.evaluation.asked.other_hospitals import Asking
from brainjepa_core.evaluation.asked.person import other_half
from brainjepa_core.evaluation.asked.yardstick import Asked, under
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.baselines import connectivity_methods
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.readout_methods import (
    BAR,
    CENTRED,
    PROBES,
    latent_methods,
    signal_methods,
)
from brainjepa_core.evaluation.readout.centring import FEWEST
from brainjepa_core.evaluation.scores.results import Predictions, Results
from brainjepa_core.evaluation.scores.subgroups import METRICS
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows

SIGNAL_ROWS = (
    "connectivity",
    f"log-connectivity{CENTRED}",
    BAR,
)


@dataclass(frozen=True, eq=False)
class Asker:
    """Asks about the tested people of one split.

    Attributes
    ----------
    windows : Windows
    tested : ndarray of bool [people of the windows]
    data : TaskData
    split : Split
    models : mapping of str to BrainModel
    signals : SignalReadOuts
        Of the windows.
    reference : str
        Plain connectivity, by its row.
    cache : Path
    progress : callable
    """

    windows: Windows
    tested: NDArray[np.bool_]
    data: TaskData
    split: Split
    models: Mapping[str, BrainModel]
    signals: SignalReadOuts
    reference: str
    cache: Path
    progress: Callable[[str], None] = lambda _: None

    @property
    def names(self) -> tuple[str, ...]:
        """Rows that are asked about."""
        probes = (f"{name}: {kind}" for name in self.models for kind in PROBES)
        return (self.reference, *SIGNAL_ROWS, *probes)

    def everything(
        self, methods: Sequence[Method], predictions: Sequence[Predictions]
    ) -> list[Asked]:
        """All sections that these people are enough for.

        Parameters
        ----------
        methods : sequence of Method
            Of the table.
        predictions : sequence of Predictions
            Theirs.
        """
        mine = [method for method in methods if method.name in self.names]
        whole = [each for each in predictions if each.model in self.names]
        patch = max((model.settings.patch for model in self.models.values()), default=1)
        asking = Asking(self.windows, self.data, self.split, self._methods, self.reference,
                        whole, patch, self.progress)  # fmt: skip
        found = [
            few_labels(self.data, self.split, mine, self.reference, self.progress),
            *other_half(self.windows, self.tested, self.models, self.data.task.name, self.progress),
            asking.short_scans(),
            asking.missing_rois(),
            asking.other_tr(),
        ]
        return [one for one in found if one is not None]

    def _methods(self, windows: Windows, data: TaskData) -> list[Method]:
        """The rows that are asked about, of changed windows, by the consensus of whole scans."""
        training = np.union1d(self.split.train, self.split.validation)
        consensus = self.signals.seen_from(self.data.people[training]).consensus
        signals, people = SignalReadOuts(windows, consensus), range(windows.subjects)
        found: list[Method] = [
            *connectivity_methods(data, ConnectivityFeatures(windows), ("correlation",)),
            *signal_methods(signals),
        ]
        for name, model in self.models.items():
            read = cached_embeddings(
                model, windows, people, (LATENT_CONNECTIVITY,), cache=self.cache
            )
            found += latent_methods(name, read[LATENT_CONNECTIVITY], signals)
        return [method for method in found if method.name in self.names]


def new_hospitals(
    results: Results, data: TaskData, models: Iterable[str], reference: str
) -> list[Asked]:
    """Each tested hospital by itself, of which nothing is known but scans; none of a single one."""
    metric = METRICS[data.task.kind][0]
    plain = [name.removesuffix(CENTRED) for name in SIGNAL_ROWS]
    names = {reference, *plain, *(name + CENTRED for name in plain)}
    names |= {f"{name}: {kind}" for name in models for kind in PROBES}
    rows = [
        row
        for row in results.subgroups
        if row.group.startswith("site=") and row.metric == metric and row.model in names
    ]
    sites = {row.group: f"{row.group.removeprefix('site=')} ({row.n})" for row in rows}
    told = (
        "No label of a tested hospital is seen by anything. Where a row says site-centred, and of "
        "probes, the mean of the hospital's own features is taken from each of its people, without "
        f"labels; of fewer than {FEWEST} people, that of all who train. Each hospital is shown "
        "with its number of people; too few of them have no figure."
    )
    called = [replace(row, metric=under(metric, sites[row.group]), group="") for row in rows]
    if not called:
        return []
    title = "At a new hospital without labels"
    return [Asked(title, told, metric, tuple(sites.values()), tuple(called))]
