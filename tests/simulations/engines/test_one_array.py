"""One array a message, whatever it asks or answers: each array more costs two requests."""

from __future__ import annotations

from collections import defaultdict

import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from small_consortium import plan, run

from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.wire.messages import WANTS, Assignment
from brainjepa_core.wire.packing import PACKED, unpack_arrays
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.engines.inprocess import InProcessGrid
from brainjepa_simulations.evaluating.asked_sites import evaluate_sites
from brainjepa_simulations.scenario import Scenario

# Of a message's objects: itself, its record dict, two records, an array and a piece of its bytes.
OBJECTS = 6
KINDS = {
    "query.describe",
    "query.gradients",
    "train",
    "evaluate",
    *(f"evaluate: {w}" for w in WANTS),
}


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
def test_each_message_of_a_study_and_its_tasks_has_one_array(tmp_path, monkeypatch, wire):
    met: dict[str, list[Message]] = defaultdict(list)
    pull = InProcessGrid._answer

    def answered(self: InProcessGrid, message: Message) -> Message:
        told = message.content.config_records["assignment"]["json"]
        probe = Assignment.model_validate_json(str(told)).probe
        kind = message.metadata.message_type + ("" if probe is None else f": {probe.want}")
        reply = pull(self, message)
        met[kind] += [message, reply]
        return reply

    monkeypatch.setattr(InProcessGrid, "_answer", answered)
    planned = plan(2, 3, cohort={"subjects_per_site": 24}, aggregation={"wire": wire})
    planned["policy"]["share_probe"] = True
    run(Scenario.model_validate(planned), tmp_path)
    if wire == "fp32":
        classes = {"f": ("F",), "m": ("M",)}
        task = TaskSettings(name="sex", column="sex", kind="classification", classes=classes)
        evaluate_sites(tmp_path, StudyTask(task=task, penalty=1.0))
        assert met.keys() == KINDS
    for kind, messages in met.items():
        for message in messages:
            assert message.has_content(), kind
            (record,) = message.content.array_records.values()
            assert list(record) == [PACKED], kind
            assert len(message.content.config_records) == 1 and not message.content.metric_records
            assert len(get_all_nested_objects(message)) <= OBJECTS, kind
    sent = unpack_arrays(met["train"][1].content.array_records["arrays"][PACKED].numpy())
    assert len(sent) > 20  # all of them in the one
