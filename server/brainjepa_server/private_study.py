"""A study under ``protect: dp``: training alone is asked of the sites, on a basis that is there."""

from __future__ import annotations

import time

from brainjepa_core.arrays import Arrays
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.budget import Cost
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import RoundRecord, write_history
from brainjepa_server.rounds.checkpoint import RoundState
from brainjepa_server.rounds.joining import Members
from brainjepa_server.rounds.round import Evaluated, Heard, Weights
from brainjepa_server.settings import StudySettings
from brainjepa_server.study import Study
from brainjepa_server.study_folder import BASIS_FILE


class PrivateStudy(Study):
    """A `Study` whose basis is that of the model it starts from, and which asks for no yardstick.

    Neither sums for a basis nor those for a yardstick are counted by sites' budgets, so that no
    site answers them.
    """

    def _note(self, members: Members) -> bool:
        """Record what each site's people are promised too, by what it told of itself."""
        costs = {
            name: cost
            for name, counts in members.counts.items()
            if (cost := promised_cost(self.settings, counts.subjects)) is not None
        }
        before, shared = self.history, self.settings.sums is not None
        told = {**before.promised, **{name: cost.epsilon for name, cost in costs.items()}}
        alone = {**before.promised_alone, **{name: cost.alone for name, cost in costs.items()}}
        self.history = before.having(promised=told, promised_alone=alone if shared else {})
        news = told != before.promised
        return super()._note(members) or news

    def _agree(self, members: Members) -> None:
        start = self._start(members)
        assert start is not None  # as the settings ask for
        self.basis, known = start.basis, self.past.basis
        if known is not None and known.hash != self.basis.hash:
            raise ValueError(
                f"expected the basis {known.hash[:12]} that this study began with, found "
                f"{self.basis.hash[:12]} in the model it starts from (start_from); name the same "
                "model again, or start in a new folder"
            )
        self.history = self.history.having(basis=BasisFacts(hash=self.basis.hash, given=True))
        write_history(self.folder, self.history)
        self.basis.save(self.folder / BASIS_FILE)
        self.mean_fc = None
        self.roles = self.settings.pretraining.new_model(self.basis).roles

    def _evaluate(self, members: Members, weights: Weights, number: int, model: str) -> Evaluated:
        return Evaluated([], {}, {}, {})


class SharedNoiseStudy(PrivateStudy):
    """A `PrivateStudy` whose sites share the noise: the coordinator takes each step."""

    def _trained(
        self, members: Members, state: RoundState, number: int, heard: Heard
    ) -> tuple[Weights, RoundRecord, Arrays]:
        from brainjepa_server.rounds.summed_gradients import gradient_round

        began = time.perf_counter()
        model = self.settings.pretraining.new_model(self.basis)
        about = self.settings, number, state.weights, self._basis32, model, state.outer, heard
        weights, record, moments = gradient_round(self._sites(members), *about)
        seconds = time.perf_counter() - began
        return weights, record.model_copy(update={"seconds": seconds}), moments


def study_kind(settings: StudySettings) -> type[Study]:
    """How a study of these settings goes."""
    if settings.privacy is None:
        return Study
    return SharedNoiseStudy if settings.privacy.is_central else PrivateStudy


def promised_cost(settings: StudySettings, people: int) -> Cost | None:
    """What a study's training costs the people of a site.

    Parameters
    ----------
    settings : StudySettings
        Of a study under ``protect: dp``.
    people : int
        Of the site, as it tells of them.

    Returns
    -------
    Cost or None
        None where the study promises them nothing: the site tells of nobody, or delta is too large.
    """
    privacy = settings.privacy
    assert privacy is not None
    if privacy.epsilon is not None:
        return Cost(privacy.epsilon, privacy.epsilon, privacy.delta)
    try:
        release = privacy.release(settings.pretraining.training, people, settings.folds)
    except ValueError:
        return None
    epsilon, alone = (epsilon_of([one], privacy.delta) for one in (release, release.alone))
    return Cost(epsilon, alone, privacy.delta)
