"""The model of a message: the request's weights and no others, whatever was asked before."""

from __future__ import annotations

import numpy as np
import torch
from small_sites import STUDY, ask, ask_round
from torch._dynamo.utils import counters

from brainjepa_client.computing.round_model import model_of
from brainjepa_core.wire.messages import EVALUATE


def test_weights_are_those_of_the_request(start):
    request = ask_round(0, start)
    for _ in range(2):
        found = model_of(request, 8).state_dict()
        assert all(np.array_equal(found[name], start[name]) for name in found)
        assert not any(value.is_meta for value in found.values())


def test_a_trained_model_leaves_nothing_to_the_next_message(start):
    model = model_of(ask_round(0, start), 8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.requires_grad_(False).eval()
    model.register_forward_hook(lambda *_: None)
    after = model_of(ask_round(1, start), 8)
    fresh = STUDY.model_family.new(STUDY.model_settings(8), start["basis"], seed=0)
    assert [p.requires_grad for p in after.parameters()] == [
        p.requires_grad for p in fresh.parameters()
    ]
    assert after.training and not after._forward_hooks
    assert all(np.array_equal(v, start[k]) for k, v in after.state_dict().items())


def test_another_basis_is_another_model(start):
    turned = {**start, "basis": np.ascontiguousarray(start["basis"][::-1])}
    for arrays in (start, turned, start):
        assert np.array_equal(model_of(ask(EVALUATE, arrays), 8).basis, arrays["basis"])


def test_what_is_not_read_is_nothing(start):
    found = model_of(ask(EVALUATE, start), 8).state_dict()
    read = STUDY.model_family.model.roles.read(found)
    assert all(not found[name].any() for name in found.keys() - set(read) - {"basis"})
    assert all(np.array_equal(found[name], start[name]) for name in read if name != "basis")


def test_what_one_message_compiles_serves_the_next(start):
    """Each has a model of its own; compiled code is of the class, as long as the process lives."""
    torch._dynamo.reset()
    counters.clear()
    found = []
    for number in range(3):
        model = model_of(ask_round(number, start), 8)
        compiled = torch.compile(model.tokens_of, dynamic=True, backend="eager")
        found.append(compiled(torch.ones(2, 8, 16)).detach())
        assert counters["stats"]["unique_graphs"] == 1
    assert torch.equal(found[0], found[2])
    torch._dynamo.reset()
