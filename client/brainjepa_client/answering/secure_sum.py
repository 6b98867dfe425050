"""A site's part in secure sums: the five steps in which a question of a protected study is asked.

Four of them are about keys and shares. With the fifth, ``masked``, the question itself comes, is
answered as any other, and the answer leaves as integers under masks.
"""

from __future__ import annotations

import math

import numpy as np

from brainjepa_client.approving.membership import KEY
from brainjepa_client.computing.state import study_folder
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.arrays import Arrays
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import ALIVE, KEYS, MASKED, SHARES, STEPS, UNMASK
from brainjepa_core.secure_sums.site import SumSite
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import (
    COMPONENTS,
    GRADIENTS,
    TRAIN,
    Assignment,
    Reply,
    Request,
    Scalar,
    SumStep,
)
from brainjepa_core.wire.sum_terms import terms_at
from brainjepa_core.wire.summed_people import (
    Layout,
    connectivity_layout,
    counts_layout,
    encode_people,
    task_layout,
    yardstick_layout,
)
from brainjepa_core.wire.summed_updates import TrainCode

SUMS = "secure_sums"  # folder of a study's: its secret, and what was told in each step
# Of a train reply; what is told of the training itself is in the sum.
IN_THE_CLEAR = ("steps", "seconds")


class SiteSum:
    """One step of one sum.

    Parameters
    ----------
    settings : SiteSettings
    contract : Contract, optional
        That the site has approved and the request is part of.
    request : Request
        With its `SumStep`.

    Raises
    ------
    Refusal
        If there is no contract, or the question is not the one that was told of.
    """

    def __init__(
        self, settings: SiteSettings, contract: Contract | None, request: Request, part: SumStep
    ) -> None:
        if contract is None:
            raise Refusal(
                "expected a secure sum of a contract that this site's manager has approved, found "
                "one of none; propose the study (brainjepa server propose)"
            )
        if part.step not in STEPS:
            raise Refusal(
                f"expected a step of a secure sum ({', '.join(STEPS)}), found "
                f"'{part.step[:40]}'; bring coordinator and site to one version"
            )
        if part.step == MASKED and request.digest != part.question:
            raise Refusal(
                "expected the question that the steps before this one told of, found another; "
                "begin another attempt"
            )
        key = load_key(settings.state / KEY, "remove it and join again")
        memory = SumMemory(study_folder(settings.state, request.assignment) / SUMS)
        try:
            asked = request.assignment
            terms = terms_at(settings.name, contract, request.kind, asked.round, part, asked.probe)
            self._sum = SumSite(settings.name, key, terms, memory)
        except ValueError as error:
            raise Refusal(str(error)) from error
        self._sites = len(terms.roster)
        self._request, self._part = request, part

    @property
    def is_asked_for_people(self) -> bool:
        """Whether this step needs the answer to the question itself."""
        return self._part.step == MASKED

    def answer(self) -> Reply:
        """Reply to a step that is not about people.

        Raises
        ------
        Refusal
            As `SumSite` says.
        """
        steps = {KEYS: self._sum.keys, SHARES: self._sum.shares}
        steps |= {ALIVE: self._sum.alive, UNMASK: self._sum.unmask}
        try:
            return Reply(arrays=steps[self._part.step](self._part.message))
        except ValueError as error:  # its text names sites, steps and keys, nothing else
            raise Refusal(str(error)) from error

    def masked(self, reply: Reply) -> Reply:
        """The answer to the question, under masks.

        Raises
        ------
        Refusal
            If a number is beyond its bounds, or as `SumSite.masked` says.
        """
        try:
            vector = vector_of(self._request, reply, self._sites, self._sum.rounding)
            told = self._sum.masked(self._part.message, vector)
        except ValueError as error:
            raise Refusal(str(error)) from error
        return Reply(in_the_clear(reply), told)


def in_the_clear(reply: Reply) -> dict[str, Scalar]:
    """What is told of an answer beside the sum."""
    return {name: reply.metrics[name] for name in IN_THE_CLEAR if name in reply.metrics}


def vector_of(request: Request, reply: Reply, sites: int, rounding: bytes) -> Arrays:
    """What a reply adds to the sum: integers without masks yet."""
    if request.kind == TRAIN and request.assignment.privacy is not None:
        return reply.arrays  # whole numbers already, with noise
    if request.kind == TRAIN:
        return _update(request, reply, sites, rounding)
    if request.kind == GRADIENTS:
        subjects = np.array(reply.metrics["subjects"], np.int64)
        asked = request.assignment.coskewness
        layout = connectivity_layout(_rois(len(reply.arrays["z_sum"])), coskewness=asked)
        return encode_people({**reply.arrays, "subjects": subjects}, layout, sites, rounding)
    counted = {
        name: array.astype(np.int64) if name.endswith(".n") else array
        for name, array in reply.arrays.items()
    }
    return encode_people(counted, _layout(request, reply), sites, rounding)


def _layout(request: Request, reply: Reply) -> Layout:
    """Of an answer about people, whether or not the site has somebody to tell of."""
    probe, folds = request.assignment.probe, request.assignment.folds
    if probe is not None and probe.want == "judge":
        return counts_layout(probe.pools)
    widths = {n.split(".")[1]: len(a) for n, a in reply.arrays.items() if n.endswith(".x_sum")}
    if probe is not None:
        return task_layout(widths, len(probe.task.classes or ()), folds)
    return yardstick_layout(widths, request.arrays[COMPONENTS].shape[1], folds)


def _update(request: Request, reply: Reply, sites: int, rounding: bytes) -> Arrays:
    assignment: Assignment = request.assignment
    update = {name: value - request.arrays[name] for name, value in reply.arrays.items()}
    shapes = {name: value.shape for name, value in update.items()}
    code = TrainCode.of(assignment, shapes, sites)
    share, loss = float(reply.metrics["share"]), float(reply.metrics["loss"])
    return code.encode(update, share, loss, rounding)


def _rois(pairs: int) -> int:
    """How many ROIs have so many pairs."""
    return (1 + math.isqrt(1 + 8 * pairs)) // 2
