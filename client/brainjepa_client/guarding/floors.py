"""Which lines of a site's policy bear on each part of a reply."""

from __future__ import annotations

from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    NOT_READ,
    OF_OTHER_HALF,
    TRAIN,
)

COUNTS = ("subjects", "scans")
A_TASK = f"{EVALUATE} a task: "
_OF_SUMS = (
    "min_people_a_class", "min_people_in_sum", "min_people_a_feature", "round_counts_to",
)  # fmt: skip
# What a task's replies are bound by, beside `allow` and `min_subjects`.
TASK_FLOORS = {
    "scores": ("min_people_a_class", "round_counts_to"),
    "sums": _OF_SUMS,
    "newton": _OF_SUMS,
    "probe": (*_OF_SUMS, "share_probe"),
    "judge": ("min_people_a_class", "min_people_in_sum", "round_counts_to"),
}


def policy_of(kind: str, name: str, *, is_array: bool) -> tuple[str, ...]:
    """Fields of the policy that bear on a part of a reply; `allow` is the first."""
    floors = ("allow",) if kind == DESCRIBE else ("allow", "min_subjects")
    if kind.startswith(A_TASK):
        return (*floors, *TASK_FLOORS[kind.removeprefix(A_TASK)])
    if kind == DESCRIBE and name in COUNTS:
        return (*floors, "round_counts_to")
    if kind == TRAIN:
        return (*floors, "round_counts_to" if name == "share" else "max_steps_per_round")
    if kind == GRADIENTS:
        return (*floors, "min_people_in_sum", "round_counts_to")
    if kind == EVALUATE and is_array:
        return (*floors, "min_people_in_sum", "min_people_a_feature")
    if kind == EVALUATE and name in OF_OTHER_HALF:
        return (*floors, "min_people_in_sum")
    if kind == EVALUATE and name == NOT_READ:
        return (*floors, "round_counts_to")
    return floors
