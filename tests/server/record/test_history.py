"""What a study records: strict JSON, there and back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.evaluation.measure import HEADLINE, YardstickScore
from brainjepa_server.record.history import (
    FEDERATED,
    LONGEST_REASON,
    POOLED,
    RANDOM,
    SUMMARY,
    BasisFacts,
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
    alone,
    is_alone,
    read_history,
    write_history,
)
from brainjepa_server.record.verdict import POOLS, Comparison, verdict

names = st.text(min_size=1, max_size=12)
counts = st.integers(0, 2**53)
numbers = st.none() | st.floats() | st.floats(width=32).map(np.float32)
rows = st.builds(YardstickRow, model=names, pool=names, outcome=names, r2=numbers, features=counts)
sites = st.builds(
    SiteRecord,
    loss=numbers, loss_last=numbers, steps=counts, seconds=numbers, share=numbers,
    bytes_up=counts, bytes_down=counts, drift=numbers,
    metrics=st.dictionaries(names, numbers, max_size=3),
)  # fmt: skip
rounds = st.builds(
    RoundRecord,
    number=counts, first_step=counts, seconds=numbers, seconds_beyond_sites=numbers,
    bytes_down=counts, bytes_up=counts,
    sites=st.dictionaries(names, sites, max_size=2),
    rejected=st.dictionaries(names, st.text(max_size=900), max_size=2),
    yardstick=st.lists(rows, max_size=2),
)  # fmt: skip
settings = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
histories = st.builds(
    RunHistory,
    name=names,
    total_rounds=st.none() | counts,
    settings=st.dictionaries(names, settings, max_size=3),
    versions=st.dictionaries(names, names, max_size=2),
    basis=st.none()
    | st.builds(
        BasisFacts,
        hash=names, eigenvalues=st.lists(numbers, max_size=3),
        eigengaps=st.lists(numbers, max_size=3), sites=counts, subjects=counts,
        drift=st.dictionaries(names, numbers, max_size=2),
    ),
    rounds=st.lists(rounds, max_size=2),
    best_round=st.none() | counts,
    baselines=st.lists(rows, max_size=2),
)  # fmt: skip


def row(model: str, r2: float, pool: str = HEADLINE, outcome: str = "latents") -> YardstickRow:
    return YardstickRow(model=model, pool=pool, outcome=outcome, r2=r2)


@given(histories)
def test_json_there_and_back(history: RunHistory) -> None:
    text = history.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert RunHistory.model_validate_json(text) == history


@given(histories)
def test_every_history_has_a_verdict(history: RunHistory) -> None:
    assert verdict(history)


def test_file_there_and_back(tmp_path: Path) -> None:
    history = RunHistory(name="été", rounds=[RoundRecord(number=0, seconds=math.nan)])
    path = write_history(tmp_path, history)
    assert path == tmp_path / SUMMARY and [p.name for p in tmp_path.iterdir()] == [SUMMARY]
    assert read_history(tmp_path) == history
    assert json.loads(path.read_text())["rounds"][0]["seconds"] is None


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected summary.json .*found none in '.*'; give the"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", '{"format": 2, "rounds": 3}', '{"format": 2, "colour": "red"}', "\xff"]
)
def test_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMMARY).write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"expected summary.json as this version .* restore it"):
        read_history(tmp_path)


def test_rows_of_the_yardstick_are_taken_as_they_are() -> None:
    found = RoundRecord(
        number=0, yardstick=[YardstickScore("federated", "mean", "latents", math.nan, 4)]
    )
    expected = YardstickRow(model="federated", pool="mean", outcome="latents", r2=None, features=4)
    assert found.yardstick == (expected,)


def test_loss_is_weighted_by_what_replies_counted_by() -> None:
    pair = {"a": SiteRecord(loss=1.0, share=3), "b": SiteRecord(loss=2.0, share=1)}
    assert RoundRecord(number=0, sites=pair).loss == pytest.approx(1.25)
    unweighted = {"a": SiteRecord(loss=1.0), "b": SiteRecord(loss=2.0), "c": SiteRecord()}
    assert RoundRecord(number=0, sites=unweighted).loss == 1.5
    assert RoundRecord(number=0, sites={"a": SiteRecord(loss=math.inf, share=1)}).loss is None


def test_a_repeated_round_cuts_the_lost_future() -> None:
    history = RunHistory()
    for number in (0, 1, 2, 1):
        history = history.with_round(RoundRecord(number=number, seconds=10.0 + number))
    assert [record.number for record in history.rounds] == [0, 1]


def test_having_checks_new_fields() -> None:
    history = RunHistory(name="a", rounds=[RoundRecord(number=0)]).having(best_round=0)
    assert (history.name, history.best_round, len(history.rounds)) == ("a", 0, 1)
    with pytest.raises(ValueError, match="best_round"):
        history.having(best_round="none")


def test_a_long_refusal_is_cut() -> None:
    record = RoundRecord(number=0, rejected={"site-01": "x" * 10_000})
    assert len(record.rejected["site-01"]) == LONGEST_REASON


def test_sites_of_rounds_and_basis() -> None:
    history = RunHistory(
        basis=BasisFacts(hash="0", drift={"site-03": 1.0}),
        rounds=[RoundRecord(number=0, sites={"site-02": SiteRecord()}, rejected={"site-01": ""})],
    )
    assert history.site_names == ["site-01", "site-02", "site-03"]


def test_names_of_sites_alone() -> None:
    assert is_alone(alone("site-01")) and not any(map(is_alone, (FEDERATED, POOLED, RANDOM)))


def test_verdict_is_about_the_pool_that_measure_calls_the_headline() -> None:
    assert POOLS[0] == HEADLINE
    assert Comparison((row("federated", 0.9, "std"), row("federated", 0.1))).pool == HEADLINE


def test_verdict_before_anything() -> None:
    assert verdict(RunHistory()).startswith("Training has not begun. Nothing has been measured")


def test_verdict_compares() -> None:
    record = RoundRecord(
        number=0,
        sites={"site-01": SiteRecord(), "site-02": SiteRecord()},
        rejected={"site-03": "late"},
        yardstick=[row(FEDERATED, 0.5), row(RANDOM, 0.1)],
    )
    history = RunHistory(total_rounds=4, rounds=[record])
    text = verdict(history)
    assert text.startswith("Rounds done: 1 of 4, with 2 sites; 1 reply was left out.")
    assert "(after round 0) explains 50% of the differences in latents" in text
    assert "beats a model with random weights (R² 0.100) by 0.400." in text
    assert text.endswith("Not compared yet with sites alone.")

    baselines = [row(POOLED, 0.505), row(alone("site-01"), 0.4), row(alone("site-02"), 0.6)]
    text = verdict(history.having(baselines=[*baselines, row(RANDOM, 0.7)]))
    assert "falls short of a model with random weights (R² 0.700) by 0.200." in text
    assert "about as well as what sites reach alone, on average (R² 0.500, difference +0" in text
    assert "and it is ahead of 1 of 2 sites." in text
    assert (
        "about as well as training on all data in one place (R² 0.505, difference -0.005)" in text
    )
    assert "Not compared" not in text


def test_verdict_of_a_model_that_tells_nothing() -> None:
    record = RoundRecord(number=0, yardstick=[row(FEDERATED, -0.2)])
    assert "tells nothing of latents (R² -0.200" in verdict(RunHistory(rounds=[record]))


def test_best_round_is_compared_else_the_last_evaluated() -> None:
    records = [RoundRecord(number=n, yardstick=[row(FEDERATED, n / 10)]) for n in range(3)]
    history = RunHistory(rounds=[*records, RoundRecord(number=3)])
    assert Comparison.of(history).round == 2
    assert Comparison.of(history.having(best_round=1)).round == 1
    assert Comparison.of(history.having(best_round=3)).round == 2
    final = history.having(baselines=[row(FEDERATED, 0.9)])
    assert Comparison.of(final).round is None
    assert Comparison.of(final).r2(FEDERATED, HEADLINE, "latents") == 0.9
    picked = history.having(best_round=1, baselines=records[1].yardstick)
    assert Comparison.of(picked).round == 1
    assert "(after round 1, the best of 3 by this yardstick, which flatters" in verdict(picked)


@pytest.mark.parametrize("number", [None, 1, 3, "x" * 99])
def test_a_study_of_another_version_is_refused_in_one_line(tmp_path, number):
    content = {"name": "demo", "rounds": [{"number": 0, "sites": {"a": {"weight": 3.0}}}]}
    if number is not None:
        content["format"] = number
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"^expected a study of format 2, found one of for") as e:
        read_history(tmp_path)
    assert str(e.value).endswith("begin a new study from its model (start_from: {model: FOLDER})")
    assert len(str(e.value)) < 240
