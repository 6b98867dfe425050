"""The verdict's first sentences: what is ahead, what may be chance, over how many sites."""

from __future__ import annotations

import pytest

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    RoundRecord,
    RunHistory,
    YardstickRow,
)
from brainjepa_server.reporting.standing import OF_SITES
from brainjepa_server.reporting.verdict import verdict

NOISE = (0.02, -0.02, 0.01, -0.01, 0.03, -0.03)


def row(model: str, r2: float, outcome: str = "latents", sites: int = 6, noisy: float = 0.0):
    told = {f"site-{i}": r2 + noisy * NOISE[i] for i in range(sites)}
    return YardstickRow(model=model, pool=HEADLINE, outcome=outcome, r2=r2, at_sites=told)


def told(*rows: YardstickRow) -> list[str]:
    return verdict(RunHistory(rounds=[RoundRecord(number=1, yardstick=rows)]))


def test_the_first_sentences_tell_each_difference_with_its_interval():
    rows = [
        row(FEDERATED, 0.5), row(RANDOM, 0.4, noisy=1), row(POOLED, 0.55, noisy=1),
        row(FEDERATED, 0.5, "connectivity"), row(RANDOM, 0.48, "connectivity", noisy=5),
        row(POOLED, 0.49, "connectivity", noisy=1),
    ]  # fmt: skip
    _, answer, connectivity, latents, *_ = told(*rows)
    assert answer == (
        "The federated model tells more than random weights do of latents (+0.100, "
        "95 % +0.075 to +0.125, 6 sites); of connectivity (+0.020, 95 % -0.104 to "
        "+0.144, 6 sites) that is not clear. Beside training on all data in one place it tells "
        "neither clearly more nor less of connectivity (+0.010, 95 % -0.015 to "
        "+0.035, 6 sites); less of latents (-0.050, 95 % -0.075 to -0.025, 6 sites)."
    )
    assert "ahead of random weights (R² 0.400) by 0.100 (at a site +0.100, 95 %" in latents
    assert "(R² 0.480) by 0.020 (at a site +0.020" in connectivity
    assert OF_SITES in told(*rows)


def test_a_gain_that_may_be_chance_is_not_called_one():
    (_, answer, *_) = told(row(FEDERATED, 0.5), row(RANDOM, 0.48, noisy=5))
    assert answer.startswith(
        "Training was not clearly worth it by this yardstick: of latents (+0.0"
    ) and answer.endswith("6 sites) a gain cannot be told from chance.")  # fmt: skip


def test_a_sure_gain_of_nothing_is_none():
    (_, answer, *_) = told(row(FEDERATED, 0.5), row(RANDOM, 0.495, noisy=0.01))
    assert answer.startswith("Training was not clearly worth it")


def test_random_weights_that_are_surely_ahead():
    (_, answer, *_) = told(row(FEDERATED, 0.3), row(RANDOM, 0.5, noisy=1))
    assert answer == (
        "Training was not worth it by this yardstick: of latents (-0.200, 95 % "
        "-0.225 to -0.175, 6 sites) random weights do as well or better."
    )


@pytest.mark.parametrize("sites", [1, 4])
def test_too_few_sites_are_said_and_nothing_is_made_up(sites):
    found = told(row(FEDERATED, 0.5, sites=sites), row(RANDOM, 0.4, sites=sites))
    few = f"Too few sites for an interval ({sites} told of both models; it takes 5)"
    gains = "The federated model tells more than random weights do of latents."
    assert found[1] == f"{gains} {few}."
    assert (
        f"{few}: differences under 0.01 are called none, and where few people are held out larger "
        "ones may be chance."
    ) in found
    assert "95 %" not in " ".join(found)
