"""Every method on the same splits; what is known is not computed again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings


def people(classes=("a", "b")) -> TaskData:
    kind = "classification" if classes else "regression"
    task = TaskSettings(name="task", column="x", kind=kind)
    n = 12
    return TaskData(
        task, np.arange(n), np.array(["s"] * n), np.arange(n) % 2 * 1.0, tuple(classes),
        np.zeros((n, 0)), ({},) * n,
    )  # fmt: skip


SPLITS = [
    Split("seed 0", 0, np.arange(6), np.arange(6, 8), np.arange(8, 12)),
    Split("seed 1", 1, np.arange(4, 10), np.arange(10, 12), np.arange(4)),
]


@dataclass
class Constant:
    name: str
    value: object
    calls: list[str] = field(default_factory=list)

    def predict(self, data, split):
        self.calls.append(split.name)
        shape = (len(split.test), len(data.classes)) if data.classes else (len(split.test),)
        return np.broadcast_to(self.value, shape)


def test_each_method_predicts_each_split_once():
    methods = [Constant("one", 1.0), Constant("two", 2.0)]
    seen = []
    found = predict_all(methods, people(), SPLITS, progress=seen.append)
    assert [(p.model, len(p.values)) for p in found] == [("one", 2), ("two", 2)]
    assert [value.shape for value in found[0].values] == [(4, 2), (4, 2)]
    assert seen == ["one", "two", "one", "two"] and methods[0].calls == ["seed 0", "seed 1"]


def test_a_run_that_was_killed_goes_on(tmp_path):
    class Killed(Constant):
        def predict(self, data, split):
            if split.name == "seed 1":
                raise KeyboardInterrupt
            return super().predict(data, split)

    with pytest.raises(KeyboardInterrupt):
        predict_all([Killed("one", 1.0)], people(), SPLITS, tmp_path)
    again = Constant("one", 3.0)
    (found,) = predict_all([again], people(), SPLITS, tmp_path)
    assert again.calls == ["seed 1"]
    assert (found.values[0] == 1).all() and (found.values[1] == 3).all()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers(value):
    with pytest.raises(
        ValueError,
        match=r"task 'task': expected finite predictions of shape \[4\] from 'one' in split 'seed "
        r"0', found shape \[4\] with 4 that are not finite; leave the method out",
    ):
        predict_all([Constant("one", value)], people(()), SPLITS)


def test_two_methods_of_one_name():
    with pytest.raises(ValueError, match="methods of different names, found one twice; rename"):
        predict_all([Constant("one", 1.0), Constant("one", 2.0)], people(), SPLITS)
