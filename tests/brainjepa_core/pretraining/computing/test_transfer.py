"""Batches on their way to a device."""

from __future__ import annotations

import pytest
import torch
from small_runs import People, make_training

from brainjepa_core.pretraining.computing.transfer import moved
from brainjepa_core.pretraining.sampling import batches_of_step


def test_what_is_there_stays_and_what_is_not_given_is_none():
    x = torch.arange(3.0)
    assert moved(None, torch.device("cpu")) is None
    assert moved(x, torch.device("cpu")) is x


@pytest.mark.gpu
def test_a_gpu_gets_the_same_numbers_on_a_stream_of_its_own():
    """While the GPU is at work: a copy that nobody waited for would be read too early."""
    training = make_training(batch_size=5)
    (batch,) = batches_of_step(People(ragged=True), training.model, training.settings, 0)
    device, load = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")
    for _ in range(20):
        load = load @ load
        there = batch.to(device)
        again = there.to(device)
        assert torch.equal(there.x.cpu(), batch.x) and again.x is there.x
        assert torch.equal(there.token_valid.cpu(), batch.token_valid)
