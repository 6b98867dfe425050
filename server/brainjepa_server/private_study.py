"""A study under ``protect: dp``: training alone is asked of the sites, on a basis that is there."""

from __future__ import annotations

from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import write_history
from brainjepa_server.rounds.joining import Members
from brainjepa_server.rounds.round import Evaluated, Weights
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
        promised = {
            name: told
            for name, counts in members.counts.items()
            if (told := promised_epsilon(self.settings, counts.subjects)) is not None
        }
        found = {**self.history.promised, **promised}
        news = found != self.history.promised
        self.history = self.history.having(promised=found)
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
        return Evaluated([], {}, {})


def study_kind(settings: StudySettings) -> type[Study]:
    """How a study of these settings goes."""
    return Study if settings.privacy is None else PrivateStudy


def promised_epsilon(settings: StudySettings, people: int) -> float | None:
    """Epsilon at which a study's training protects the people of a site.

    Parameters
    ----------
    settings : StudySettings
        Of a study under ``protect: dp``.
    people : int
        Of the site, as it tells of them.

    Returns
    -------
    float or None
        None where the study promises them nothing: the site tells of nobody, or delta is too large.
    """
    privacy = settings.privacy
    assert privacy is not None
    if privacy.epsilon is not None:
        return privacy.epsilon
    try:
        release = privacy.release(settings.pretraining.training, people, settings.folds)
    except ValueError:
        return None
    return epsilon_of([release], privacy.delta)
