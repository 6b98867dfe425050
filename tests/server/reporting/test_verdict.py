"""What a study's report says first: every outcome, beside every model, and what is not known."""

from __future__ import annotations

import pytest

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
    alone,
)
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.verdict import POOLS, Comparison, verdict

SITES = tuple(f"site-{i:02d}" for i in range(1, 5))
OUTCOMES = ("connectivity", "latents", "age within site")


def row(model: str, r2: float | None, outcome: str = "latents", pool: str = HEADLINE):
    return YardstickRow(model=model, pool=pool, outcome=outcome, r2=r2)


def history(*rows: YardstickRow, baselines=()) -> RunHistory:
    record = RoundRecord(number=1, sites={"a": SiteRecord(), "b": SiteRecord()}, yardstick=rows)
    return RunHistory(total_rounds=4, rounds=[record], baselines=baselines)


def demo() -> RunHistory:
    """Figures of a study where training helped one outcome of three."""
    own, random = (0.410, 0.718, 0.499), (0.371, 0.722, 0.504)
    rows = [row(FEDERATED, r2, o) for o, r2 in zip(OUTCOMES, own, strict=True)]
    rows += [row(RANDOM, r2, o) for o, r2 in zip(OUTCOMES, random, strict=True)]
    reached = (0.30, 0.38, 0.4099, 0.405)  # two of them cannot be told apart from 0.410
    baselines = [row(alone(s), r2, "connectivity") for s, r2 in zip(SITES, reached, strict=True)]
    return history(*rows, baselines=[*baselines, row(POOLED, 0.415, "connectivity")])


def test_the_verdict_is_about_the_pool_that_measure_calls_the_headline() -> None:
    assert POOLS[0] == HEADLINE
    assert Comparison((row(FEDERATED, 0.9, pool="std"), row(FEDERATED, 0.1))).pool == HEADLINE


def test_before_anything() -> None:
    begun, nothing = verdict(RunHistory())
    assert begun == "Training has not begun." and nothing.startswith("Nothing has been measured")


def test_every_outcome_is_told_and_random_weights_that_do_as_well() -> None:
    begun, answer, *told = verdict(demo())
    assert begun == "Rounds done: 1 of 4, with 2 sites."
    assert answer == (
        "The federated model tells more than random weights do of connectivity; of latents and age "
        "within site random weights do as well or better."
    )
    assert told[0] == (
        "connectivity: explains 41% of the differences (R² 0.410); ahead of random weights "
        "(R² 0.371) by 0.039; about as well as training on all data in one place (R² 0.415, "
        "difference -0.005); ahead of what sites reach alone, on average (R² 0.374) by 0.036, "
        "clearly ahead of 2 of 4 sites."
    )
    assert told[1] == (
        "latents: explains 72% of the differences (R² 0.718); about as well as random weights "
        "(R² 0.722, difference -0.004)."
    )
    assert told[2].startswith("age within site: explains 50% of the differences (R² 0.499); about")


def test_the_other_half_is_told_first_and_from_its_own_pool() -> None:
    half = [row(m, r2, "the other half", "latent_connectivity") for m, r2 in
            ((FEDERATED, 0.072), (RANDOM, 0.027))]  # fmt: skip
    told = verdict(history(*half, row(FEDERATED, 0.7), row(RANDOM, 0.7)))
    assert told[1] == (
        "The federated model tells more than random weights do of the other half; of latents "
        "random weights do as well or better."
    )
    assert told[2] == (
        "the other half: explains 7% of the differences (R² 0.072); ahead of random weights "
        "(R² 0.027) by 0.045."
    )
    assert told[4] == (
        f"All of it is of the model after round 1, read from the pool “{HEADLINE}” by ridge "
        "probes of people that no site trained on; that of the other half is not."
    )
    assert "All of it is of the model after round 1." in verdict(history(*half))
    assert any(text.startswith("R² of the other half of a scan is what one") for text in told)
    assert not any("other half" in text for text in verdict(demo()))
    comparison = Comparison((*half, row(FEDERATED, 0.7)))
    assert comparison.pool == HEADLINE and comparison.pools_of("latents") == [HEADLINE]


def test_what_is_not_known_is_said() -> None:
    told = verdict(demo())
    assert any(
        "No interval is known, since people's values stay at their sites: differences under 0.01 "
        "are called none" in sentence
        for sentence in told
    )
    assert told[-1].startswith("Not compared with plain connectivity, which brainjepa evaluate")
    alone_missing = verdict(history(row(FEDERATED, 0.5)))
    assert alone_missing[1].startswith("Whether training was worth it is not known: random")
    assert alone_missing[-1].startswith(
        "Not compared with random weights, sites alone and plain connectivity"
    )
    unmeasured = verdict(history(row(FEDERATED, 0.5), row(FEDERATED, None, "connectivity")))
    assert "connectivity: not known; the outcome does not vary, or the model" in unmeasured[2]


@pytest.mark.parametrize(
    ("own", "random", "answer"),
    [
        (0.5, 0.1, "The federated model tells more than random weights do of latents."),
        (0.5, 0.495, "Training was not worth it by this yardstick: of latents random weights do"),
        (0.5, 0.7, "Training was not worth it by this yardstick: of latents random weights do"),
    ],
)
def test_the_answer_is_how_the_model_stands_beside_random_weights(own, random, answer) -> None:
    assert verdict(history(row(FEDERATED, own), row(RANDOM, random)))[1].startswith(answer)


def test_a_model_that_tells_nothing_and_one_that_falls_short() -> None:
    told = verdict(history(row(FEDERATED, -0.2), row(RANDOM, 0.1), row(START, 0.3)))
    assert told[2] == (
        "latents: tells nothing (R² -0.200); behind random weights (R² 0.100) by 0.300; behind the "
        "model that the study started from (R² 0.300) by 0.500."
    )


def test_rounds_are_drawn_from_zero_beside_the_other_models() -> None:
    rows = [row(FEDERATED, 0.38, "connectivity"), row(RANDOM, 0.371, "connectivity")]
    second = RoundRecord(number=2, yardstick=[row(FEDERATED, 0.41, "connectivity")])
    base = [row(POOLED, 0.415, "connectivity"), row(alone("site-01"), 0.3, "connectivity")]
    told = history(*rows, baselines=base)
    told = told.having(rounds=(*told.rounds, second))
    ax = figures.progress(told, HEADLINE, "connectivity").axes[0]
    assert ax.get_ylim()[0] == 0
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {
        "federated": [0.38, 0.41], "pooled": [0.415] * 2, "random weights": [0.371] * 2,
        "sites alone, mean": [0.3] * 2,
    }  # fmt: skip
    worse = history(row(FEDERATED, -0.4, "connectivity"))
    assert figures.progress(worse, HEADLINE, "connectivity").axes[0].get_ylim()[0] < -0.4
