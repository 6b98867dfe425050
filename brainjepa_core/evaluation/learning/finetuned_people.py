"""People as fine-tuning sees them: read-outs before anything moves, and their scans.

Shapes: n people, P_k features of a read-out, P of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.features.readouts import (
    LatentReadOut,
    SignalReadOuts,
    heard_by_probe,
)
from brainjepa_core.evaluation.learning.finetuned_network import FinetunedNetwork
from brainjepa_core.evaluation.learning.inputs import ScanInputs
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget, what_is_left
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead, head_from_probe
from brainjepa_core.evaluation.readout.with_slopes import LogWithSlopes
from brainjepa_core.evaluation.splits import cutter
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.signals.windows import Windows

PARTS = 5


@dataclass(frozen=True, eq=False)
class FinetunedPeople:
    """The people of a task.

    Attributes
    ----------
    data : TaskData
    learning : ndarray of int64
        Rows that are learned from: their signals are the consensus.
    groups : ndarray of int64 [n]
        Number of each one's hospital.
    parts : ndarray of int64 [n]
        Of those who are learned from: a head that was fitted without somebody's part judges them.
    readouts : list of ndarray [n, P_k]
        By the model that is fine-tuned; NaN where unknown.
    heard : tuple of bool
        Which of them the probe of such a task hears.
    log : LogWithSlopes
        The consensus that log-connectivity is seen from.
    scans : ScanInputs
    """

    data: TaskData
    learning: Index
    groups: NDArray[np.int64]
    parts: NDArray[np.int64]
    readouts: list[Float32]
    heard: tuple[bool, ...]
    log: LogWithSlopes
    scans: ScanInputs

    @classmethod
    def of(
        cls,
        data: TaskData,
        learning: Index,
        windows: Windows,
        pairs: Float32,
        signals: SignalReadOuts,
        readouts: tuple[LatentReadOut, ...],
        patch: int,
    ) -> FinetunedPeople:
        """Of Fisher z [people of the windows, E] of their latent connectivity."""
        groups = np.unique(data.sites, return_inverse=True)[1].astype(np.int64)
        log = LogWithSlopes.of(signals.seen_from(data.people[learning]))
        found = [
            pairs[data.people]
            if readout == LATENT_CONNECTIVITY
            else signals.log_connectivity(pairs)(data, learning)
            for readout in readouts
        ]
        parts = np.zeros(len(data), np.int64)
        cut = cutter(min(PARTS, len(learning)), seed=0, balanced=False).split(learning)
        for part, (_, left_out) in enumerate(cut):
            parts[learning[left_out]] = part
        scans = ScanInputs(windows, data.people, patch, groups, parts)
        kind = heard_by_probe(data.task.kind)
        heard = tuple(readout in kind for readout in readouts)
        return cls(data, learning, groups, parts, found, heard, log, scans)

    def probe(
        self, readouts: Sequence[NDArray[np.floating]], split: Split, target: LearnedTarget
    ) -> ReadOutHead:
        """A head that is the probe of a split's training people by some read-outs."""
        told = target.encode(what_is_left(self.data, split.train))
        whose = self.groups, split.train, split.validation
        return head_from_probe(readouts, self.heard, *whose, target, told)

    def probes_without_each_part(
        self, readouts: Sequence[NDArray[np.floating]], split: Split, target: LearnedTarget
    ) -> nn.ModuleList:
        """The same of the training people outside each part."""
        without = (split.train[self.parts[split.train] != part] for part in range(PARTS))
        return nn.ModuleList(
            self.probe(readouts, replace(split, train=rest), target) for rest in without
        )

    @torch.no_grad()
    def read_by(self, network: FinetunedNetwork, rows: Index) -> list[Float32]:
        """Read-outs of some rows by a network that has moved; the others are NaN."""
        widths = [x.shape[1] for x in self.readouts]
        result = np.full((len(self.data), sum(widths)), np.nan, np.float32)
        for row in rows.tolist():
            features, known = network.read(*network.read_scans(self.scans, row))
            values = torch.where(known, features, torch.nan)[0]
            result[row] = values.cpu().numpy()
        return np.split(result, np.cumsum(widths)[:-1], axis=1)
