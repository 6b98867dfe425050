"""The ClientApp: Flower's messages in and out, and nothing else of a site."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from small_sites import ask, ask_round, make_site

from brainjepa_client.answering.app import app
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN
from brainjepa_core.wire.packing import PACKED, pack_arrays, unpack_arrays

TYPES = {DESCRIBE: "query.describe", GRADIENTS: "query.gradients", TRAIN: "train",
         EVALUATE: "evaluate"}  # fmt: skip


@pytest.fixture(autouse=True)
def inside_a_flower_process():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1


@pytest.fixture
def site_file(stores, tmp_path):
    """Settings of a site, in a folder of virtual sites where it is the second."""
    (tmp_path / "sites").mkdir()
    for name in ("a-broken", "one"):
        content = {
            "name": "one",
            "store": str(stores[0]),
            "state": str(tmp_path / "state"),
            "policy": {
                "min_subjects": 4,
                "min_people_in_sum": 1,
                "round_counts_to": 1,
                "min_people_a_feature": 0,
            },
        }
        file = tmp_path / "sites" / f"{name}.yaml"
        file.write_text("store: /canary" if name == "a-broken" else yaml.safe_dump(content))
    return file


def message(request) -> Message:
    content = RecordDict(
        {
            "assignment": ConfigRecord({"json": request.assignment.model_dump_json()}),
            "arrays": ArrayRecord({PACKED: Array(pack_arrays(request.arrays))}),
        }
    )
    return Message(content, 7, TYPES[request.kind], group_id="g")


def context(node_config: dict, **run_config) -> Context:
    return Context(1, 7, node_config, RecordDict(), run_config)


def answer(request, file) -> tuple[dict, dict]:
    reply = app(message(request), context({"site-yaml": str(file)}))
    metrics = dict(reply.content["reply"])
    return metrics, unpack_arrays(reply.content["arrays"][PACKED].numpy())


def test_every_kind_is_answered_as_by_the_site(stores, start, tmp_path, site_file):
    site = make_site(stores[0], tmp_path / "other-state")
    requests = [ask(DESCRIBE), ask(GRADIENTS), ask_round(0, start), ask(EVALUATE, start)]
    for request in requests:
        metrics, arrays = answer(request, site_file)
        expected = site.answer(request)
        assert metrics.pop("refusal") == expected.refusal == ""
        metrics.pop("seconds", None)
        expected.metrics.pop("seconds", None)
        assert metrics == expected.metrics, request.kind
        assert arrays.keys() == expected.arrays.keys()
        assert all(np.array_equal(arrays[k], v) for k, v in expected.arrays.items())
        assert all(arrays[k].dtype == v.dtype for k, v in expected.arrays.items())


def test_a_policy_that_is_tightened_holds_at_the_next_request(site_file):
    """The program that answers goes on; its manager edits the YAML meanwhile."""
    assert answer(ask(GRADIENTS), site_file)[0]["refusal"] == ""
    content = yaml.safe_load(site_file.read_text())
    for change, text in (
        ({"allow": ["describe"]}, "this site's policy does not allow gradients (policy.allow)"),
        ({"min_subjects": 500}, "asks for at least 500 people outside the held-out fold"),
    ):
        site_file.write_text(yaml.safe_dump({**content, "policy": change}))
        metrics, arrays = answer(ask(GRADIENTS), site_file)
        assert text in metrics["refusal"] and arrays == {}
    site_file.write_text(yaml.safe_dump(content))
    assert answer(ask(GRADIENTS), site_file)[0]["refusal"] == ""


def test_settings_that_became_wrong_are_told_to_the_site_and_to_nobody_else(site_file, capsys):
    site_file.write_text(site_file.read_text() + "canary: 1\n")
    metrics, _ = answer(ask(GRADIENTS), site_file)
    assert metrics["refusal"] == "the site failed in gradients (ValueError); see its log"
    assert "canary: no such field" in capsys.readouterr().err


def test_virtual_sites_go_by_their_number(site_file):
    node = {"partition-id": 1, "num-partitions": 2}
    reply = app(message(ask(DESCRIBE)), context(node, **{"virtual-sites": str(site_file.parent)}))
    assert reply.content["reply"]["site"] == "one"


def test_a_refusal_travels_without_arrays(site_file, start):
    metrics, arrays = answer(ask_round(0, {}), site_file)
    assert "found none; give all sites one atlas" in metrics["refusal"]
    assert arrays == {} and set(metrics) == {"refusal"}


def spoiled() -> list[RecordDict]:
    assignment = ConfigRecord({"json": ask(DESCRIBE).assignment.model_dump_json()})
    return [
        RecordDict({}),
        RecordDict({"assignment": assignment}),
        RecordDict({"assignment": ConfigRecord({"json": "{"}), "arrays": ArrayRecord({})}),
        RecordDict({"assignment": ConfigRecord({"json": "{}"}), "arrays": ArrayRecord({})}),
        RecordDict({"assignment": ConfigRecord({}), "arrays": ArrayRecord({})}),
    ]


@pytest.mark.parametrize("number", range(len(spoiled())))
def test_a_message_that_is_none_is_refused_without_its_text(site_file, number):
    reply = app(
        Message(spoiled()[number], 7, "train", group_id="g"),
        context({"site-yaml": str(site_file)}),
    )
    refusal = reply.content["reply"]["refusal"]
    assert refusal.startswith("the site failed in train (") and refusal.endswith("; see its log")
    assert not reply.has_error()


@pytest.mark.parametrize(
    "node", [{}, {"site-yaml": "/canary/gone.yaml"}, {"partition-id": 0}, {"partition-id": 9}]
)
def test_a_site_without_sound_settings_names_no_path(site_file, node):
    reply = app(message(ask(DESCRIBE)), context(node, **{"virtual-sites": str(site_file.parent)}))
    refusal = reply.content["reply"]["refusal"]
    assert refusal.startswith("the site failed in describe (")
    assert "canary" not in refusal and "/" not in refusal


def test_a_message_waits_for_no_import_that_its_answer_does_not_need():
    """Scikit-learn, nilearn, pandas, scipy's signals take longer to import than a small answer."""
    program = "import sys, brainjepa_client.answering.app; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "brainjepa_client.computing.training" in told and "torch" in told
    heavy = {"sklearn", "nilearn", "pandas", "nibabel", "matplotlib", "mlflow", "opacus"}
    heavy |= {"scipy.stats", "scipy.signal"}
    assert not heavy & set(told)
