"""What a study records: strict JSON, there and back."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.evaluation.measure import HEADLINE, YardstickScore
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.fields import LONGEST_REASON
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    ROUNDS,
    SUMMARY,
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
    alone,
    append_round,
    is_alone,
    read_history,
    write_history,
)
from brainjepa_server.reporting.verdict import Comparison, verdict

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
    number=st.integers(1, 2**53), first_step=counts, seconds=numbers, seconds_beyond_sites=numbers,
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
        eigengaps=st.lists(numbers, max_size=3), sites=st.lists(names, max_size=2), subjects=counts,
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
    history = RunHistory(name="été", rounds=[RoundRecord(number=1, seconds=math.nan)])
    write_history(tmp_path, history)
    assert sorted(p.name for p in tmp_path.iterdir()) == [ROUNDS, SUMMARY]
    assert read_history(tmp_path) == history
    assert json.loads((tmp_path / ROUNDS).read_text())["seconds"] is None


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected summary.json .*found none in '.*'; give the"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", '{"format": 8, "stores": 3}', '{"format": 8, "colour": "red"}', "\xff"]
)
def test_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMMARY).write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"expected summary.json as this version .* restore it"):
        read_history(tmp_path)


def test_a_round_is_a_line_of_its_own(tmp_path: Path) -> None:
    records = [RoundRecord(number=n, rejected={"site-01": "no\nreply"}) for n in (1, 2, 3)]
    write_history(tmp_path, RunHistory(name="a"))
    summary = (tmp_path / SUMMARY).read_bytes()
    for record in records:
        append_round(tmp_path, record)
    assert read_history(tmp_path).rounds == tuple(records)
    assert (tmp_path / SUMMARY).read_bytes() == summary
    assert len((tmp_path / ROUNDS).read_text().splitlines()) == 3


def test_a_round_is_on_the_disk_before_the_study_goes_on(tmp_path: Path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_size))
    append_round(tmp_path, RoundRecord(number=1))
    assert synced == [(tmp_path / ROUNDS).stat().st_size]


@pytest.mark.parametrize("kept", [1, 20, 60])
def test_a_line_that_a_kill_cut_short_is_not_there(tmp_path: Path, kept: int) -> None:
    write_history(tmp_path, RunHistory(rounds=[RoundRecord(number=1), RoundRecord(number=2)]))
    first, second = (tmp_path / ROUNDS).read_bytes().splitlines(keepends=True)
    (tmp_path / ROUNDS).write_bytes(first + second[:kept])
    history = read_history(tmp_path)
    assert [record.number for record in history.rounds] == [1]
    write_history(tmp_path, history)  # as a study does that goes on
    append_round(tmp_path, RoundRecord(number=2))
    assert [record.number for record in read_history(tmp_path).rounds] == [1, 2]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "{",
            r"^rounds.jsonl line 2: expected a round as this version .*found .*; restore",
        ),
        ('{"number": 2, "colour": 1}', "^rounds.jsonl line 2: expected a round .*found .*colour"),
        (
            '{"number": 4}',
            "^rounds.jsonl line 2: expected round 2, found round 4; restore",
        ),
        ('{"number": 0}', "^rounds.jsonl line 2: expected a round as this version writes it"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, text: str) -> None:
    write_history(tmp_path, RunHistory(rounds=[RoundRecord(number=n) for n in (1, 2, 3)]))
    first, _, third = (tmp_path / ROUNDS).read_text().splitlines()
    (tmp_path / ROUNDS).write_text(f"{first}\n{line}\n{third}\n")
    with pytest.raises(ValueError, match=text):
        read_history(tmp_path)


def test_rows_of_the_yardstick_are_taken_as_they_are() -> None:
    found = RoundRecord(
        number=1, yardstick=[YardstickScore("federated", "mean", "latents", math.nan, 4)]
    )
    expected = YardstickRow(model="federated", pool="mean", outcome="latents", r2=None, features=4)
    assert found.yardstick == (expected,)


def test_loss_is_weighted_by_what_replies_counted_by() -> None:
    pair = {"a": SiteRecord(loss=1.0, share=3), "b": SiteRecord(loss=2.0, share=1)}
    assert RoundRecord(number=1, sites=pair).loss == pytest.approx(1.25)
    unweighted = {"a": SiteRecord(loss=1.0), "b": SiteRecord(loss=2.0), "c": SiteRecord()}
    assert RoundRecord(number=1, sites=unweighted).loss == 1.5
    assert RoundRecord(number=1, sites={"a": SiteRecord(loss=math.inf, share=1)}).loss is None


def test_a_repeated_round_cuts_the_lost_future() -> None:
    history = RunHistory()
    for number in (1, 2, 3, 2):
        history = history.with_round(RoundRecord(number=number, seconds=10.0 + number))
    assert [record.number for record in history.rounds] == [1, 2]


def test_having_checks_new_fields() -> None:
    history = RunHistory(name="a", rounds=[RoundRecord(number=1)]).having(best_round=1)
    assert (history.name, history.best_round, len(history.rounds)) == ("a", 1, 1)
    with pytest.raises(ValueError, match="best_round"):
        history.having(best_round="none")


def test_a_long_refusal_is_cut() -> None:
    record = RoundRecord(number=1, rejected={"site-01": "x" * 10_000})
    assert len(record.rejected["site-01"]) == LONGEST_REASON


def test_sites_of_rounds_and_basis() -> None:
    history = RunHistory(
        basis=BasisFacts(hash="0", drift={"site-03": 1.0}),
        rounds=[RoundRecord(number=1, sites={"site-02": SiteRecord()}, rejected={"site-01": ""})],
    )
    assert history.site_names == ["site-01", "site-02", "site-03"]


def test_names_of_sites_alone() -> None:
    assert is_alone(alone("site-01")) and not any(map(is_alone, (FEDERATED, POOLED, RANDOM)))


def test_best_round_is_compared_else_the_last_evaluated() -> None:
    records = [RoundRecord(number=n, yardstick=[row(FEDERATED, n / 10)]) for n in (1, 2, 3)]
    history = RunHistory(rounds=[*records, RoundRecord(number=4)])
    assert Comparison.of(history).round == 3
    assert Comparison.of(history.having(best_round=2)).round == 2
    assert Comparison.of(history.having(best_round=4)).round == 3
    final = history.having(baselines=[row(FEDERATED, 0.9)])
    assert Comparison.of(final).round is None
    assert Comparison.of(final).r2(FEDERATED, HEADLINE, "latents") == 0.9
    picked = history.having(best_round=2, baselines=records[1].yardstick)
    assert Comparison.of(picked).round == 2
    flattered = "of the model after round 2, the best of 3 by this yardstick, which flatters"
    assert flattered in " ".join(verdict(picked))


@pytest.mark.parametrize("number", [None, 1, 2, "x" * 99])
def test_a_study_of_another_version_is_refused_in_one_line(tmp_path, number):
    content = {"name": "demo", "rounds": [{"number": 0, "sites": {"a": {"weight": 3.0}}}]}
    if number is not None:
        content["format"] = number
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"^expected a study of format 8, found one of for") as e:
        read_history(tmp_path)
    assert str(e.value).endswith("begin a new study from its model (start_from: {model: FOLDER})")
    assert len(str(e.value)) < 240
