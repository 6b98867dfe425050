"""What a site answers and what it refuses. Its texts travel: they name no id, path or date."""

from __future__ import annotations

from collections.abc import Callable

from brainjepa_client.guarding.sizes import StudySize
from brainjepa_client.settings import PolicySettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.models.sizes import USUAL_RATIO
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import (
    DESCRIBE,
    KINDS,
    TRAIN,
    WIRE_VERSION,
    Assignment,
    ProbeRequest,
    Request,
)

PUBLISHED_ROIS = 450
GB = 1e9


class Refusal(ValueError):
    """A refusal whose text may leave the site; no other text of an error does."""


def require_allowed(
    policy: PolicySettings,
    request: Request,
    training_people: Callable[[], int],
    rois: Callable[[], int],
) -> None:
    """Refuse what the site's policy does not allow, or what the site cannot answer.

    Parameters
    ----------
    policy : PolicySettings
    request : Request
    training_people : callable
        Counts the people outside the held-out fold; called only for replies with sums.
        What a task's people have to be is asked by `computing.task_evaluation`, which knows them.
    rois : callable
        Counts the ROIs of the site's atlas; called likewise.

    Raises
    ------
    Refusal
        If the kind is unknown or not allowed, the version is another, the assignment is
        inconsistent, the study is too large, there are too many steps or too few people.
    """
    kind, assignment = request.kind, request.assignment
    if kind not in KINDS:
        raise Refusal(
            f"expected a message of kind {', '.join(KINDS)}, found '{kind[:40]}'; "
            "bring coordinator and site to one version"
        )
    if assignment.version != WIRE_VERSION:
        raise Refusal(
            f"expected messages of version {WIRE_VERSION}, found {assignment.version}; "
            "bring coordinator and site to one version"
        )
    if kind not in policy.allow:
        raise Refusal(f"this site's policy does not allow {kind} (policy.allow); ask its manager")
    if kind == DESCRIBE:
        return
    _require_protected(policy, assignment)
    if (assignment.protect is None) != (request.sum is None):
        asked = "a step of a secure sum" if assignment.protect is None else "one in the clear"
        kept = "in the clear" if assignment.protect is None else "in secure sums alone"
        raise Refusal(
            f"expected a question of a study that is answered {kept} (protect), found {asked}; "
            "bring coordinator and site to one version"
        )
    if assignment.held_out_fold >= assignment.folds:
        raise Refusal(
            f"expected held_out_fold below folds ({assignment.folds}), found "
            f"{assignment.held_out_fold}; number folds from 0"
        )
    if kind == TRAIN:
        require_study(policy, assignment, rois())
        _require_scheduled(assignment)
    require_size(policy, assignment.pretraining, rois())
    if training_people() < policy.min_subjects:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_subjects} people outside the "
            "held-out fold (policy.min_subjects), and it has fewer; go on without this site"
        )


def require_study(policy: PolicySettings, study: Assignment, rois: int) -> None:
    """Refuse a study's rounds that are longer or larger than the policy allows.

    Parameters
    ----------
    policy : PolicySettings
    study : Assignment
        Of one of its rounds.
    rois : int
        Of the site's atlas.

    Raises
    ------
    Refusal
        Naming the line of the policy.
    """
    _require_protected(policy, study)
    if not 1 <= study.steps <= policy.max_steps_per_round:
        raise Refusal(
            f"this site's policy allows 1 to {policy.max_steps_per_round} steps a round "
            f"(policy.max_steps_per_round), found {study.steps}; change rounds.local_steps"
        )
    require_size(policy, study.pretraining, rois)


def _require_protected(policy: PolicySettings, study: Assignment) -> None:
    if policy.require_secure_sum and study.protect is None:
        raise Refusal(
            "this site's policy answers within secure sums alone (policy.require_secure_sum), and "
            "this study is without them; set protect: secure_sum, or go on without this site"
        )


def require_told_apart(policy: PolicySettings, held_out: int) -> None:
    """Refuse a sum whose difference from that of everybody is a sum over too few.

    Raises
    ------
    Refusal
    """
    if 0 < held_out < policy.min_people_in_sum:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_people_in_sum} people in a sum "
            "(policy.min_people_in_sum), and its held-out fold has fewer; hold out another fold, "
            "or go on without this site"
        )


def require_enough_summed(policy: PolicySettings, people: int, features: int) -> None:
    """Refuse a secure sum of fewer people a feature, at all sites, than the policy asks for.

    Parameters
    ----------
    policy : PolicySettings
    people : int
        Whom the study promises to be in the sum, of all sites.
    features : int

    Raises
    ------
    Refusal
    """
    if people < policy.min_people_a_feature * features:
        raise Refusal(
            f"this site's policy lets sums of {features} features leave where the study's sites "
            f"have at least {policy.min_people_a_feature} people for each together "
            f"(policy.min_people_a_feature), and the study promises {people} (floors.subjects,"
            " rounds.evaluate_people); raise that where they are there, or go on without this site"
        )


def require_size(
    policy: PolicySettings, study: PretrainingSettings, rois: int = PUBLISHED_ROIS
) -> None:
    """Refuse a study that asks more of this site's machines than its policy allows.

    Parameters
    ----------
    policy : PolicySettings
    study : PretrainingSettings
    rois : int
        Of the site's atlas.

    Raises
    ------
    Refusal
        Naming the line of the policy.
    """
    networks = study.model_settings(rois).networks
    wide = (n.width * max(n.ratio / USUAL_RATIO, 1.0) for n in networks)
    asked = {
        "max_width": (max(wide, default=0), "a model's width"),
        "max_depth": (max((n.depth for n in networks), default=0), "a model's depth"),
        "max_frames": (study.windows.frames, "windows.frames"),
        "max_batch_size": (study.training.batch_size, "training.batch_size"),
        "max_masks_per_sample": (
            study.training.masks.masks_per_sample,
            "training.masks.masks_per_sample",
        ),
    }
    for line, (found, what) in asked.items():
        if found > getattr(policy, line):
            raise Refusal(
                f"this site's policy allows {what} of at most {getattr(policy, line)} "
                f"(policy.{line}), found {found:g}; make the study smaller, or ask its manager"
            )
    size = StudySize.of(study, rois)
    needed = {"max_memory_gb": (size.memory, "memory"), "max_disk_gb": (size.disk, "disk")}
    for line, (found, what) in needed.items():
        if found > getattr(policy, line) * GB:
            raise Refusal(
                f"this site's policy allows {getattr(policy, line):g} GB of {what} (policy.{line}),"
                f" and the study takes about {found / GB:.3g}; make the study smaller (model, "
                "windows, batch_size, or more accumulation), or ask its manager"
            )


def require_task(policy: PolicySettings, probe: ProbeRequest) -> None:
    """Refuse a question about a task that no people of this site could make right.

    Parameters
    ----------
    policy : PolicySettings
    probe : ProbeRequest

    Raises
    ------
    Refusal
    """
    _require_columns(policy, probe.task)
    if probe.want == "probe" and not policy.share_probe:
        raise Refusal(
            "this site's policy keeps the weights of its own probes (policy.share_probe); go on "
            "without its row of the matrix"
        )
    if probe.want != "scores" and probe.task.covariates:
        raise Refusal(
            f"expected a task without covariates for probes across sites, found "
            f"{len(probe.task.covariates)} of task '{probe.task.name}'; ask for scores only"
        )
    if probe.want == "newton" and len(probe.task.classes or ()) != 2:
        raise Refusal("expected two classes for Newton's steps, found another task; ask for sums")


def _require_columns(policy: PolicySettings, task: TaskSettings) -> None:
    if policy.task_columns is None:
        return
    rules = (rule.column for rule in task.include)
    asked = {task.column, *task.covariates, *task.stratify, *rules} - {"site"}
    if not asked <= set(policy.task_columns):
        raise Refusal(
            f"this site's policy lets tasks read {', '.join(policy.task_columns) or 'no column'} "
            f"(policy.task_columns), and task '{task.name}' asks for others; go on without it"
        )


def _require_scheduled(assignment: Assignment) -> None:
    total = assignment.pretraining.training.schedule.total_steps
    if assignment.first_step + assignment.steps > total:
        raise Refusal(
            f"expected steps within the schedule's {total}, found {assignment.first_step} to "
            f"{assignment.first_step + assignment.steps - 1}; lengthen the schedule or end the "
            "study"
        )
