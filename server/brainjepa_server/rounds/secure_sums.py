"""A question as secure sums: five steps asked of the sites, and totals in place of replies.

There is one sum over all sites, or of updates one for each group of them; the groups take their
steps side by side, so that a round of groups takes no longer than one of all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from brainjepa_core.secure_sums.messages import MASKED, STEPS, UNMASK
from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.messages import SumStep
from brainjepa_core.wire.packing import digest_of
from brainjepa_core.wire.sum_terms import terms_of
from brainjepa_server.rounds.one_sum import OneSum, Question, Summed
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.study_folder import SUMS


def secure_sums(
    sites: Sites, question: Question, arrived: Callable[[str], None] = lambda _: None
) -> list[Summed]:
    """Ask all sites, and add up what they answer without seeing it.

    Parameters
    ----------
    sites : Sites
        Of a contract, with the study's folder.
    question : Question
    arrived : callable
        Called with the name of each site as its masked answer comes.

    Returns
    -------
    list of Summed
        One over all sites; or of groups, in the order of the draw, where fewer than half may be
        lost.

    Raises
    ------
    QuorumMissed
        If too few sites answered a step; asked again, the sums go on or begin anew.
    SumLost
        If too few sites told shares; asked again, the same ones may.
    ValueError
        If there is no contract.
    """
    if sites.contract is None or sites.folder is None:
        raise ValueError(
            "expected a contract for a study with protect: secure_sum, since sites know each "
            "other by its roster, found none; propose the study (brainjepa server propose)"
        )
    sums = _sums(sites, question, sites.folder / SUMS)
    while at_hand := _first_step(sums):
        step = at_hand[0].step
        for one in at_hand if step == UNMASK else ():
            one.keep()
        _ask(sites, question, at_hand, arrived)
        for one in at_hand:
            one.end_step(sites.counts)
        require_most([one.found for one in sums])
    return [one.found for one in sums]


def require_most(sums: list[Summed]) -> None:
    """Refuse when half of the sums are lost, before any more is unmasked: no middle is left.

    Raises
    ------
    QuorumMissed
        Where another try may bring enough.
    SumLost
        Where none does.
    """
    lost = [one.lost for one in sums if one.lost is not None]
    may_be_lost = (len(sums) - 1) // 2
    if len(lost) <= may_be_lost:
        return
    for_good = sum(isinstance(one, SumLost) for one in lost) > may_be_lost
    if len(sums) == 1:
        raise lost[0]
    reasons = "".join(f"; {why}" for why in lost)
    raise (SumLost if for_good else QuorumMissed)(
        f"expected the sums of at least {len(sums) - may_be_lost} of {len(sums)} groups "
        f"(protect.groups), found {len(sums) - len(lost)}; mend the sites{reasons}"
    )


def clear_sums(folder: Path, number: int) -> None:
    """Remove the sums of rounds before `number`, counted from 0: they are in the weights."""
    for path in (folder / SUMS).glob("round-*"):
        if int(path.name.removeprefix("round-").partition("-")[0]) < number:
            path.unlink()


def _sums(sites: Sites, question: Question, folder: Path) -> list[OneSum]:
    """The sums of a question, as far as an earlier process or try has come."""
    digest, number = digest_of(question.arrays), question.assignment.round

    def terms(attempt: int) -> tuple[SumTerms, ...]:
        assert sites.contract is not None
        step = SumStep("", attempt, digest)
        return terms_of(sites.contract, question.kind, number, step, question.assignment.probe)

    def of_group(place: int, attempt: int) -> SumTerms:
        return terms(attempt)[place]

    several = terms(0)
    ends = [f"-{place + 1}" if len(several) > 1 else "" for place in range(len(several))]
    name = f"round-{number:06d}-{several[0].question}"
    return [
        OneSum(question, digest, partial(of_group, place), folder / f"{name}{end}")
        for place, end in enumerate(ends)
    ]


def _first_step(sums: list[OneSum]) -> list[OneSum]:
    """The sums that are least far; a group that went on from the disk waits for the others."""
    steps = [STEPS.index(one.step) for one in sums if one.step is not None]
    return [one for one in sums if steps and one.step == STEPS[min(steps)]]


def _ask(
    sites: Sites, question: Question, sums: list[OneSum], arrived: Callable[[str], None]
) -> None:
    """The step at hand, of all sites that have not answered it."""
    asked = {site: one for one in sums for site in one.awaited if site in sites.nodes}
    masked = sums[0].step == MASKED
    for answer in sites.ask(
        question.kind,
        question.assignment,
        question.arrays if masked else {},
        sorted(asked),
        question.deadline,
        arrived if masked else lambda _: None,
        question.retries,
        {site: one.request(site) for site, one in asked.items()},
    ):
        asked[answer.site].take(answer)
        del answer  # before the next one is read: one message is as large as the sum
