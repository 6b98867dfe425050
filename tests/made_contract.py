"""A contract of a study of three rounds, for two sites."""

from __future__ import annotations

from typing import Any

from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.contract import Contract, TaskQuestion
from brainjepa_core.wire.messages import Assignment, ProbeRequest

AGE = ProbeRequest(
    want="sums", task=TaskSettings(name="age", column="age", kind="regression"), pools=("mean",)
)


STUDY = PretrainingSettings(
    model=dict(
        width=8, depth=1, heads=2, patch=4, predictor_width=8, predictor_depth=1, predictor_heads=2
    ),
    windows={"frames": 16},
    basis={"components": 3, "sparsity": 0.2},
    training={
        "batch_size": 4,
        "schedule": dict(total_steps=6, warmup_steps=2, lr=0.01, ema=0.9),
    },
)


def make_contract(**changes: Any) -> Contract:
    fields = {
        "consortium": "three",
        "assignment": Assignment(study_id="small", pretraining=STUDY, steps=2),
        "rounds": 3,
        "evaluations": 2,
        "tasks": (TaskQuestion(probe=AGE, times=2),),
        "roster": {"one": "aa", "two": "bb"},
    }
    return Contract(**(fields | changes))
