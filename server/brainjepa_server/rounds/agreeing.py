"""The consensus of a study: every site is asked for sums over its people, once."""

from __future__ import annotations

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.wire.messages import GRADIENTS
from brainjepa_server.combining.consensus import Consensus, build_consensus
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.rounds.joining import Members
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings


def consensus(sites: Sites, settings: StudySettings, members: Members) -> Consensus:
    """Ask all members, and compute the basis of all their people.

    A site that is cut off meanwhile is asked again, for it would be missing from all rounds.

    Raises
    ------
    ValueError
        As `build_consensus` says.
    """
    if settings.sums:
        from brainjepa_server.rounds.summed import summed_consensus

        return summed_consensus(sites, settings, members.rois)
    asked, rounds = settings.assignment(), settings.rounds
    names = sorted(members.nodes)
    answers = sites.ask(GRADIENTS, asked, {}, names, rounds.deadline, retries=rounds.retries)
    replies = ((answer.site, answer.reply) for answer in answers)
    told = members.rois, settings.floors, settings.pretraining.basis, members.counts
    return build_consensus(replies, *told, sites.folder, coskewness=settings.coskewness)


def facts_of(found: Consensus, basis: ConsensusBasis) -> BasisFacts:
    """What is recorded of a consensus, and of the basis that the study stands on."""
    return BasisFacts(
        hash=basis.hash,
        eigenvalues=tuple(basis.eigenvalues.tolist()),
        eigengaps=tuple(basis.eigengaps.tolist()),
        sites=found.sites,
        subjects=found.people,
        left_out=found.left_out,
        capped=found.capped,
        compared=found.compared,
        without_coskewness=found.coskewness.left_out if found.coskewness else {},
    )
