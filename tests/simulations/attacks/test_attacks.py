"""A coordinator that lies learns of nobody from a site by contract, and of people without that."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from brainjepa_client.answering.site import Site
from brainjepa_client.guarding.contracts import Contracts
from brainjepa_client.guarding.deciding import approve
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.evaluation.measure import HEADLINE, networks_of, outcome_groups
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.yardstick import connectivity_components, embed_people
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import BASIS, COMPONENTS, DESCRIBE, GRADIENTS, Assignment, Request
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.attacks.folds import people_from_folds
from brainjepa_simulations.attacks.moments import people_from_moments
from brainjepa_simulations.attacks.questions import values_by_counting, values_by_judging
from brainjepa_simulations.attacks.two_settings import people_from_two_settings
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

PEOPLE = 40
COHORT = CohortSettings(
    sites=1, subjects_per_site=PEOPLE, rois=8, networks=4, latents=3, frames=40, missing_rois=0,
    second_sessions=0.0,
)  # fmt: skip
STUDY = PretrainingSettings(
    model=dict(
        width=8, depth=1, heads=2, patch=4, predictor_width=8, predictor_depth=1, predictor_heads=2
    ),
    windows={"frames": 16},
    basis={"components": 3, "sparsity": 0.2},
    training={"batch_size": 8, "schedule": {"total_steps": 30, "warmup_steps": 2}},
)
AGE = StudyTask(task=TaskSettings(name="age", column="age", kind="regression"))
YEARS = [float(age) for age in range(5, 100)]


class Attacked:
    """A site of the default policy, what a coordinator sends it, and the truth about its people."""

    def __init__(self, store, state) -> None:
        self.settings = SiteSettings(name="site-01", store=store, state=state)
        self.open = self.settings.model_copy(
            update={"policy": PolicySettings(min_people_a_feature=0, round_counts_to=1)}
        )
        self.windows = Windows([ScanStore.open(store)], STUDY.windows)
        self.labels = [person.records[0].subject for person in self.windows.people]
        total = connectivity_sum(self.windows)
        basis = ConsensusBasis.from_sum(total, 3, 0.2)
        self.model = STUDY.new_model(basis)
        self.arrays = {k: v.numpy() for k, v in self.model.state_dict().items()}
        components = connectivity_components(total.mean_fc(), 4)
        self.arrays |= {BASIS: self.arrays["basis"], COMPONENTS: components}
        self.study = Assignment(study_id="study", pretraining=STUDY, steps=10)
        self.contract = Contract(
            consortium="three",
            assignment=self.study,
            rounds=3,
            evaluations=5,
            tasks=AGE.questions(),
            roster={"site-01": "a key"},
        )
        self.answered = 0

    def without_guard(self):
        """`ask` of a site that answers anybody all that it has, and the study."""
        return self._asking(Site(self.open)), self.study

    def by_contract(self):
        """`ask` of a site that answers an approved contract, and the contract's study."""
        approve(self.settings, Contracts(self.settings.state).propose(self.contract.text))
        return self._asking(Site(self.settings, contracts=True)), self.contract.asked(0)

    def _asking(self, site: Site):
        def ask(request: Request):
            reply = site.answer(request)
            self.answered += not reply.refusal
            return reply

        return ask

    def z_of(self, person: int) -> np.ndarray:
        return connectivity_sum(self.windows.only([person])).z_sum

    def told_z(self, found: dict) -> int:
        """People whose connectivity was found."""
        return sum(
            np.abs(z - self.z_of(self.labels.index(label))).max() < 1e-6
            for label, z in found.items()
        )

    @property
    def ages(self) -> np.ndarray:
        return np.array([p.records[0].phenotypes["age"] for p in self.windows.people])

    def told_ages(self, found: list[float]) -> int:
        """Ages within a year, each person's once."""
        left, told = sorted(self.ages), 0
        for value in sorted(found):
            near = next((age for age in left if abs(age - value) <= 1), None)
            if near is not None:
                left.remove(near)
                told += 1
        return told


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_cohort(COHORT, tmp_path_factory.mktemp("stores"))[0]


@pytest.fixture
def attacked(store, tmp_path):
    return Attacked(store, tmp_path / "state")


def fold_differences(attacked, ask, study) -> int:
    return attacked.told_z(people_from_folds(ask, study, attacked.labels))


def two_settings(attacked, ask, study) -> int:
    return attacked.told_z(people_from_two_settings(ask, study, attacked.labels))


def spans_of_moments(attacked, ask, study) -> int:
    names = {"pool": HEADLINE, "outcome": "age within site", "folds": 12}
    found = people_from_moments(ask, study, attacked.arrays, **names, seeds=range(4))
    networks = networks_of(attacked.windows, attacked.arrays[BASIS])
    true = embed_people(attacked.model.eval(), attacked.windows, range(PEOPLE), (HEADLINE,),
                        networks)[HEADLINE]  # fmt: skip
    ages = outcome_groups(attacked.windows, attacked.arrays[COMPONENTS])["age within site"]
    told = 0
    for x, y in zip(true, ages, strict=True):
        told += any(
            np.abs(sign * person - x).max() < 1e-6 and np.abs(sign * age - y).max() < 1e-6
            for person, age in found
            for sign in (1, -1)
        )
    assert told == len(found)  # no false find
    return told


def counted_ages(attacked, ask, study) -> int:
    return attacked.told_ages(
        values_by_counting(ask, study, attacked.arrays, "age", YEARS, HEADLINE)
    )


def judged_ages(attacked, ask, study) -> int:
    probe = AGE.question("judge")
    found = values_by_judging(ask, study, attacked.arrays, probe, 10, PEOPLE, YEARS)
    return attacked.told_ages(found)


ATTACKS = {
    fold_differences: PEOPLE,
    two_settings: 10,
    spans_of_moments: 10,
    counted_ages: PEOPLE // 2,
    judged_ages: PEOPLE // 2,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_a_contract_people_are_recovered(attacked, attack):
    """The attacks can do what they say."""
    found = attack(attacked, *attacked.without_guard())
    print(f"{attack.__name__}: {found} of {PEOPLE} in {attacked.answered} answers")
    assert found >= ATTACKS[attack]


@pytest.mark.parametrize("attack", ATTACKS)
def test_by_contract_nobody_is(attacked, attack):
    assert attack(attacked, *attacked.by_contract()) == 0
    if attack is judged_ages:  # what the contract allows is answered, and tells too little
        assert attacked.answered == sum(q.times for q in AGE.questions() if q.probe.want == "judge")


def test_all_attacks_after_an_honest_study(attacked):
    """Nor does who has other answers of the contract find anybody."""
    ask, study = attacked.by_contract()
    assert not ask(Request(DESCRIBE, study)).refusal
    assert not ask(Request(GRADIENTS, study)).refusal
    assert [attack(attacked, ask, study) for attack in ATTACKS] == [0] * len(ATTACKS)
    assert attacked.answered < 12


def test_people_are_far_enough_apart_for_a_find_to_mean_something(attacked):
    found = sorted(attacked.z_of(person)[0] for person in range(PEOPLE))
    assert min(b - a for a, b in pairwise(found)) > 1e-6


@pytest.mark.parametrize("attack", [spans_of_moments, counted_ages])
def test_by_the_default_policy_nobody_is_either(attacked, attack):
    """Without a contract: for want of five people a feature, and since counts are rounded."""
    ask, study = Site(attacked.settings).answer, attacked.study
    assert attack(attacked, ask, study) <= 2  # ages that a guess comes near by chance
