"""Sites of a study in groups, which answer the coordinator's steps without a wire between."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "simulations"))  # small_consortium

from made_sums import key, name
from small_consortium import scenario

from brainjepa_core.consortium import fingerprints
from brainjepa_core.secure_sums.in_memory import answer
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import MASKED, STEPS, UNMASK
from brainjepa_core.secure_sums.site import SumSite
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import BASIS, Reply
from brainjepa_core.wire.sum_terms import terms_at
from brainjepa_core.wire.summed_updates import TrainCode
from brainjepa_server.combining.validation import Counts
from brainjepa_server.consortium.proposing import questions
from brainjepa_server.rounds.sites import Answer
from brainjepa_server.rounds.summed import summed_training

PEOPLE = 50  # of each site
FLOORS = {"sites": 3, "subjects_per_site": 1, "subjects": 150}


def study_of(sites: int, groups: int = 3, combine: str = "median", **rounds):
    told = scenario(sites, aggregation={"combine": combine}, rounds=rounds).model_dump(
        exclude_none=True
    )["study"]
    told |= {"protect": {"secure_sum": {}, "groups": groups}, "floors": FLOORS}
    return type(scenario(3).study).model_validate(told)


def contract_of(study, sites: int) -> Contract:
    roster = {name(n): fingerprints.of_key(key(n).public_key()) for n in range(sites)}
    return Contract(consortium="twelve", roster=roster, **questions(study))


class Consortium:
    """Sites that answer the coordinator's steps themselves; `gone` is the step each is silent from.

    Parameters
    ----------
    folder : Path
    study : StudySettings
    sites : int
    gone : dict of str to str
    lying : dict of str to float
        What sites multiply their integers by.
    """

    def __init__(self, folder, study, sites, gone=None, lying=None) -> None:
        self.folder, self.contract = folder / "study", contract_of(study, sites)
        self.gone, self.lying, self.asked = gone or {}, lying or {}, []
        self.nodes = {site: n for n, site in enumerate(self.contract.roster)}
        self.counts = {site: Counts(PEOPLE, PEOPLE) for site in self.nodes}
        self._folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}

    def update(self, site: str) -> tuple[dict[str, np.ndarray], float, float]:
        rng = np.random.default_rng(self.nodes[site])
        moved = {n: rng.normal(0, 0.002, s).astype("f4") for n, s in self.shapes.items()}
        return moved, float(rng.integers(1, 80)), float(rng.random())

    def ask(self, kind, assignment, arrays, names, deadline, arrived, retries, steps):
        assert names == sorted(names)
        for site in names:
            part = steps[site]
            self.asked.append((site, part.step))
            if STEPS.index(part.step) >= STEPS.index(self.gone.get(site, UNMASK)) and (
                site in self.gone
            ):
                yield Answer(site, Reply(refusal="no reply before the deadline"), 0, 0)
                continue
            terms = terms_at(site, self.contract, kind, assignment.round, part)
            own = SumSite(site, key(self.nodes[site]), terms, SumMemory(self._folder / site))
            vector = {}
            if part.step == MASKED:
                code = TrainCode.of(assignment, self.shapes, len(terms.roster))
                vector = code.encode(*self.update(site), own.rounding)
                for value in vector.values():
                    value *= np.uint32(self.lying.get(site, 1))
                arrived(site)
            try:
                reply = Reply({"seconds": 1.0}, answer(own, part.step, part.message, vector))
            except ValueError as error:
                reply = Reply(refusal=str(error))
            yield Answer(site, reply, 10, 20)


def trained(consortium: Consortium, study, number: int = 0):
    """A round's mean weights and record; the weights it began with."""
    roles = study.pretraining.model_family.model.roles
    rng = np.random.default_rng(5)
    arrays = {f"encoder.blocks.{n}.weight": rng.normal(0, 1, (3, 4)).astype("f4") for n in (0, 1)}
    consortium.shapes = {n: arrays[n].shape for n in roles.sent(arrays, with_followers=True)}
    assert len(consortium.shapes) == 2
    consortium.folder.mkdir(parents=True, exist_ok=True)
    asked = {**arrays, BASIS: np.zeros((8, 3), "f4")}
    heard = consortium.heard = {}
    assignment = study.assignment(number)
    means, record = summed_training(
        consortium, study, assignment, asked, roles, lambda site, why: heard.update({site: why})
    )
    return means, record, arrays
