"""A scenario in one YAML file: whose data, what goes wrong, and the study they run together."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from brainjepa_client.settings import PolicySettings
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.parallel.settings import DEVICE
from brainjepa_core.settings import FilePath, Frozen, read_settings, shipped_or_own
from brainjepa_core.wire.groups import require_groups
from brainjepa_server.settings import StudySettings
from brainjepa_simulations.cohort.cohort import CohortSettings

SCENARIOS = Path(__file__).parent / "scenarios"


class FaultSettings(Frozen):
    """What goes wrong at virtual sites, numbered from 1, as rounds are.

    Attributes
    ----------
    dropouts : dict of int to tuple of int
        Rounds in which a site does not answer.
    poison : dict of int to {"nan", "huge", "flip", "garbage"}
        What a site does to all of its weights: NaN; a thousand times its difference; the
        difference with the other sign; other arrays altogether.
    """

    dropouts: dict[int, tuple[PositiveInt, ...]] = {}
    poison: dict[int, Literal["nan", "huge", "flip", "garbage"]] = {}


class Scenario(Frozen):
    """Virtual sites and their study.

    Attributes
    ----------
    cohort : CohortSettings, optional
        Synthetic sites; or
    data : Path, optional
        a folder of scan stores, or of site archives with their ``participants.tsv``.
    policy : PolicySettings
        Of every virtual site.
    threads : int
        Of torch at every site; the same results need the same number.
    device : str
        That all sites, and the models beside them, are trained and read on, one after the other:
        cpu, cuda, cuda:1 ...
    computing : Computing
        How, there.
    faults : FaultSettings
    study : StudySettings
    """

    cohort: CohortSettings | None = None
    data: FilePath | None = None
    policy: PolicySettings = PolicySettings()
    threads: int = Field(1, ge=1)
    device: str = Field("cpu", pattern=DEVICE)
    computing: Computing = EXACT
    faults: FaultSettings = FaultSettings()
    study: StudySettings

    @model_validator(mode="after")
    def _one_source(self) -> Scenario:
        if (self.cohort is None) == (self.data is None):
            found = "none" if self.cohort is None else "both"
            raise ValueError(
                f"expected either cohort (synthetic sites) or data (a folder), found {found}; "
                "give one of the two (for data also: --data FOLDER)"
            )
        if self.data is not None and not self.data.is_dir():
            raise ValueError(
                f"expected data to be a folder of stores or site archives, found '{self.data}', "
                "no such folder; correct the path, or give --data FOLDER"
            )
        if self.cohort is not None and self.study.pretraining.model_settings(rois=1).volumes:
            raise ValueError(
                f"expected data, a folder of stores with volumes (prepare.volumes), with family "
                f"{self.study.pretraining.family}, found a synthetic cohort, which has series "
                "alone; give data, or take another family"
            )
        if self.cohort is not None and self.study.rounds.quorum > self.cohort.sites:
            raise ValueError(
                f"expected study.rounds.quorum of at most the {self.cohort.sites} sites of the "
                f"cohort, found {self.study.rounds.quorum}; lower the quorum or add sites"
            )
        if self.cohort is not None and self.study.sums and self.study.sums.groups is not None:
            require_groups(self.study.sums.groups, self.cohort.sites)
        self.computing.require_on(self.device)
        faulty = {*self.faults.dropouts, *self.faults.poison}
        last = self.cohort.sites if self.cohort is not None else max(faulty, default=1)
        wrong = sorted(number for number in faulty if not 1 <= number <= last)
        if wrong:
            raise ValueError(
                f"expected sites from 1 to {last} (those of the cohort) in faults, found "
                f"{wrong[0]}; correct the number"
            )
        if self.faults.poison and self.study.aggregation.wire != "fp32":
            raise ValueError(
                "expected study.aggregation.wire fp32 where sites are poisoned, found "
                f"{self.study.aggregation.wire}; poison is defined on weights"
            )
        if self.faults.poison and self.study.sums:
            raise ValueError(
                "expected no faults.poison with study.protect: secure_sum, found some; poison is "
                "defined on weights, and a site's masked numbers are none"
            )
        return self

    def protected(self, protect: str) -> Scenario:
        """The same with ``study.protect``."""
        told = self.model_dump(exclude_none=True)
        return Scenario.model_validate({**told, "study": {**told["study"], "protect": protect}})


def read_scenario(
    path: str | Path, data: Path | None = None, device: str | None = None
) -> Scenario:
    """Read a scenario's YAML; `data` and `device` replace its own.

    Parameters
    ----------
    path : path
        A file, or the name of a shipped scenario such as ``demo``.
    data : Path, optional
    device : str, optional

    Raises
    ------
    ValueError
        Naming the field, what was found, and how to mend it.
    """
    # a file of one's own may have any name, and one beside a run "demo" is none
    file = Path(path) if Path(path).is_file() else shipped_or_own(path, SCENARIOS, "scenario")
    given = {"data": None if data is None else data.absolute(), "device": device}
    return read_settings(file, Scenario, **{n: v for n, v in given.items() if v is not None})
