"""From some hospitals to others: who trains, who is tested, and who is in both.

Hospitals are told apart by the folder that they are in, not by name: later people of a hospital
that also trains are tested all the same. What they then tell is how a model does at a hospital
that it knows, and it is said.

Shapes: n people of a task, N people of the windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.tasks.strata import part, smallest_group
from brainjepa_core.evaluation.tasks.task_data import LEAST_PEOPLE
from brainjepa_core.problems import counted
from brainjepa_core.signals.windows import Windows


@dataclass(frozen=True, eq=False)
class AcrossHospitals:
    """Windows of people who train and of people who are tested, nobody in both.

    Attributes
    ----------
    windows : Windows
    tested : ndarray of bool [N]
    notes : tuple of str
        Sentences on who was left out, and on hospitals that are on both sides.
    """

    windows: Windows
    tested: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, windows: Windows, training_stores: int) -> AcrossHospitals:
        """People of the first stores train, those of the others are tested.

        Whoever is in both is tested only: of the same name at a hospital of the same name, or with
        a scan of the same numbers.

        Raises
        ------
        ValueError
            If nobody is left to train.
        """
        tested = np.array([person.store >= training_stores for person in windows.people])
        twice = ~tested & _also(windows, tested)
        kept = np.flatnonzero(~twice)
        notes = []
        if twice.any():
            notes.append(
                f"{counted(int(twice.sum()), 'person is', 'people are')} among those who train and "
                "those who are tested: left out of training. A checkpoint may have seen their scans"
            )
        if not tested.any() or tested[kept].all():
            side = "to be tested" if not tested.any() else "to train on beside them"
            raise ValueError(
                f"expected people {side}, found none with a scan that can be used; give other "
                "hospitals with --test"
            )
        sites = [_site(windows, person) for person in kept]
        sides = {side: {s for s, t in zip(sites, tested[kept], strict=True) if t == side}
                 for side in (False, True)}  # fmt: skip
        both = sorted(sides[False] & sides[True])
        if both:
            notes.append(
                f"{len(both)} of {counted(len(sides[True]), 'tested hospital')} "
                f"{'is' if len(both) == 1 else 'are'} among those that train, by name: "
                f"{', '.join(both)}. There this is how a model does with other people of hospitals "
                "that it knows, not at new ones"
            )
        return cls(windows.only(kept.tolist()), tested[kept], tuple(notes))

    @property
    def training(self) -> Windows:
        """Windows of those who train."""
        return self.windows.only(np.flatnonzero(~self.tested).tolist())

    def split(self, data: TaskData, protocol: ProtocolSettings) -> Split:
        """Train on all who train, test all others, as far as they take part in the task.

        Raises
        ------
        ValueError
            If nobody tested takes part, or too few train.
        """
        tested = self.tested[data.people]
        learn, test = np.flatnonzero(~tested), np.flatnonzero(tested)
        if not len(test):
            everybody = counted(int(self.tested.sum()), "person", "people")
            raise ValueError(
                f"task '{data.task.name}': expected tested people whose '{data.task.column}' is "
                f"known and who fit the task, found none of {everybody} of the folder of --test; "
                "complete its participants.tsv"
            )
        few, group = smallest_group(data, learn)
        if few < LEAST_PEOPLE:
            raise ValueError(
                f"task '{data.task.name}': expected at least {LEAST_PEOPLE} people {group} among "
                f"those who train, found {few}; complete their participants.tsv, or add hospitals"
            )
        train, validation = part(data, learn, protocol.validation, seed=0)
        return Split(f"to {', '.join(protocol.test_sites)}", 0, train, validation, test)


def _also(windows: Windows, tested: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a person [N] is also among those who are tested, by name or by numbers."""
    names: set[tuple[str, str]] = set()
    scans: set[str] = set()
    for number in np.flatnonzero(tested):
        person = windows.people[number]
        names.add((_site(windows, number), person.records[0].subject))
        scans |= {record.sha256 for record in person.records}
    return np.array(
        [
            (_site(windows, number), person.records[0].subject) in names
            or any(record.sha256 in scans for record in person.records)
            for number, person in enumerate(windows.people)
        ]
    )


def _site(windows: Windows, number: int | np.signedinteger) -> str:
    return windows.stores[windows.people[number].store].path.name
