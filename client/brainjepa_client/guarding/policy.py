"""What a site answers and what it refuses. Its texts travel: they name no id, path or date."""

from __future__ import annotations

from collections.abc import Callable

from brainjepa_client.settings import PolicySettings
from brainjepa_core.wire.messages import DESCRIBE, KINDS, PROTOCOL, TRAIN, Request, Task


class Refusal(ValueError):
    """A refusal whose text may leave the site; no other text of an error does."""


def require_allowed(
    policy: PolicySettings, request: Request, training_people: Callable[[], int]
) -> None:
    """Refuse what the site's policy does not allow, or what the site cannot answer.

    Parameters
    ----------
    policy : PolicySettings
    request : Request
    training_people : callable
        Counts the people outside the held-out fold; called only for replies with sums.
        What a task's people have to be is asked by `answering.task_evaluation`, which knows them.

    Raises
    ------
    Refusal
        If the kind is unknown or not allowed, the protocol is another, the task is
        inconsistent, there are too many steps or too few people.
    """
    kind, task = request.kind, request.task
    if kind not in KINDS:
        raise Refusal(
            f"expected a message of kind {', '.join(KINDS)}, found '{kind[:40]}'; "
            "bring coordinator and site to one version"
        )
    if task.protocol != PROTOCOL:
        raise Refusal(
            f"expected protocol {PROTOCOL}, found {task.protocol}; "
            "bring coordinator and site to one version"
        )
    if kind not in policy.allow:
        raise Refusal(f"this site's policy does not allow {kind} (policy.allow); ask its manager")
    if kind == DESCRIBE:
        return
    if task.held_out_fold >= task.folds:
        raise Refusal(
            f"expected held_out_fold below folds ({task.folds}), found {task.held_out_fold}; "
            "number folds from 0"
        )
    if kind == TRAIN:
        _require_steps(policy, task)
    if training_people() < policy.min_subjects:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_subjects} people outside the "
            "held-out fold (policy.min_subjects), and it has fewer; go on without this site"
        )


def _require_steps(policy: PolicySettings, task: Task) -> None:
    total = task.study.training.schedule.total_steps
    if not 1 <= task.steps <= policy.max_steps_per_round:
        raise Refusal(
            f"this site's policy allows 1 to {policy.max_steps_per_round} steps a round "
            f"(policy.max_steps_per_round), found {task.steps}; change rounds.local_steps"
        )
    if task.first_step + task.steps > total:
        raise Refusal(
            f"expected steps within the schedule's {total}, found {task.first_step} to "
            f"{task.first_step + task.steps - 1}; lengthen the schedule or end the study"
        )
