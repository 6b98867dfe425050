"""A site that is asked, with and without the contract that its manager approved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import approve
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import BASIS, COMPONENTS, Assignment, Reply, Request
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.attacks.asking.insisting import Ask

AGE = StudyTask(task=TaskSettings(name="age", column="age", kind="regression"))
STEPS = 10  # of a round


class Victim:
    """A site of the default policy, what a coordinator sends it, and the truth about its people.

    Parameters
    ----------
    store : ScanStore
    study : PretrainingSettings
    state : Path
        Folder of the site's state; nobody has asked it before.
    """

    def __init__(self, store: ScanStore, study: PretrainingSettings, state: Path) -> None:
        self.settings = SiteSettings(name=store.path.name, store=store.path, state=state)
        self.open = self.settings.model_copy(
            update={"policy": PolicySettings(min_people_a_feature=0, round_counts_to=1)}
        )
        self.windows = study.windows_of([store])
        self.labels = [person.records[0].subject for person in self.windows.people]
        total = connectivity_sum(self.windows)
        self.basis = ConsensusBasis.from_sum(total, study.basis.components, study.basis.sparsity)
        self.model = study.new_model(self.basis)
        weights = {name: value.numpy() for name, value in self.model.state_dict().items()}
        count = min(study.basis.components, len(self.windows.atlas) // 2)
        components = connectivity_components(total.mean_fc(), count)
        self.arrays: Arrays = {**weights, BASIS: weights["basis"], COMPONENTS: components}
        self.study = Assignment(study_id="study", pretraining=study, steps=STEPS)
        self.contract = Contract(
            consortium="three",
            assignment=self.study,
            rounds=study.training.schedule.total_steps // STEPS,
            evaluations=5,
            tasks=AGE.questions(),
            roster={self.settings.name: "a key"},
        )
        self.answered = 0

    def without_contract(self) -> tuple[Ask, Assignment]:
        """`ask` of a site that answers anybody all that it has, and a study."""
        return self._asking(Site(self.open)), self.study

    def by_contract(self) -> tuple[Ask, Assignment]:
        """`ask` of a site that answers an approved contract, and the contract's study."""
        approve(self.settings, Contracts(self.settings.state).propose(self.contract.text))
        return self._asking(Site(self.settings, contracts=True)), self.contract.asked(0)

    def _asking(self, site: Site) -> Ask:
        def ask(request: Request) -> Reply:
            reply = site.answer(request)
            self.answered += not reply.refusal
            return reply

        return ask

    @property
    def people(self) -> int:
        return self.windows.subjects

    def z_of(self, person: int) -> Float64:
        """Summed Fisher z [P] of a person, by their place."""
        found: Float64 = connectivity_sum(self.windows.only([person])).z_sum
        return found

    def known_z(self, found: dict[str, Float64]) -> int:
        """People whose connectivity was found."""
        return sum(
            bool(np.abs(z - self.z_of(self.labels.index(label))).max() < 1e-6)
            for label, z in found.items()
        )

    @property
    def ages(self) -> Float64:
        return np.array([p.records[0].phenotypes["age"] for p in self.windows.people], np.float64)

    def known_ages(self, found: Sequence[float]) -> int:
        """People whose age was found to a year, each once."""
        left, told = sorted(self.ages.tolist()), 0
        for value in sorted(found):
            near = next((age for age in left if abs(age - value) <= 1), None)
            if near is not None:
                left.remove(near)
                told += 1
        return told
