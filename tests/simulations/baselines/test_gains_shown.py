"""What a simulation tells of its gains: in the summary, and below the table of models."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from scipy import stats
from small_consortium import in_this_process_alone, run, scenario

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_server.record.history import FEDERATED, POOLED, RANDOM, RunHistory, YardstickRow
from brainjepa_simulations.baselines import compare as compare_module
from brainjepa_simulations.commands.simulate import comparison
from brainjepa_simulations.engines.virtual_sites import STORES

OUTCOMES = ("age within site", "connectivity", "latents", OTHER_HALF)


@pytest.mark.slow
def test_five_sites_and_more_have_intervals_beside_random_weights_and_pooled_data(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(compare_module, "in_order", in_this_process_alone)
    chosen = scenario(7, 2)  # some have nobody in the held-out fold
    run(chosen, tmp_path)
    stores = [ScanStore.open(path) for path in sorted((tmp_path / STORES).iterdir())]
    list(compare_module.compare(chosen, tmp_path, stores, 1))
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = {(r["model"], r["pool"], r["outcome"]): r["at_sites"] for r in summary["baselines"]}
    assert {gain["beside"] for gain in summary["gains"]} == {RANDOM, POOLED}
    assert HEADLINE in {gain["pool"] for gain in summary["gains"]}
    for gain in summary["gains"]:
        kind = gain["pool"], gain["outcome"]
        own, other = rows[(FEDERATED, *kind)], rows[(gain["beside"], *kind)]
        pairs = [(own[s], other[s]) for s in sorted(own) if own[s] is not None is not other.get(s)]
        assert gain["sites"] == len(pairs)
        naive = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval()
        if len(pairs) < 5:  # not every site has people for the other half
            assert gain["low"] is gain["high"] is None
        elif gain["low"] != gain["high"]:  # the test divides by 0 where all sites gain the same
            assert (gain["low"], gain["high"]) == pytest.approx((naive.low, naive.high))
    assert any(gain["sites"] >= 5 and gain["low"] < gain["high"] for gain in summary["gains"])


def made(sites: int) -> RunHistory:
    def row(model: str, outcome: str, r2: float) -> YardstickRow:
        pool = "latent_connectivity" if outcome == OTHER_HALF else HEADLINE
        told = {f"site-{i}": r2 + 0.01 * (i % 3) * (model == RANDOM) for i in range(sites)}
        return YardstickRow(model=model, pool=pool, outcome=outcome, r2=r2, at_sites=told)

    models = {FEDERATED: 0.5, RANDOM: 0.3, POOLED: 0.55}
    return RunHistory(baselines=[row(m, o, r2) for m, r2 in models.items() for o in OUTCOMES])


def shown(history: RunHistory) -> list[str]:
    screen = io.StringIO()
    Console(file=screen, width=80).print(comparison(history))
    return screen.getvalue().splitlines()


def test_the_table_tells_gains_with_intervals_on_80_columns():
    lines = shown(made(6))
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert max(map(len, lines)) <= 80
    assert [row[0] for row in cells[3:]] == [
        "federated less untrained", "95 % from", "to",
        "federated less all in one place", "95 % from", "to",
    ]  # fmt: skip
    assert [row[1:] for row in cells[3:6]] == [["+0.190"] * 4, ["+0.181"] * 4, ["+0.199"] * 4]
    assert [row[1] for row in cells[6:]] == ["-0.050"] * 3
    assert "on a site's own people, mean over 6 sites, Student's t" in " ".join(lines)


def test_of_too_few_sites_the_table_says_so():
    lines = shown(made(4))
    assert "too few sites for an interval (4; it takes 5)" in " ".join(lines)
    assert "95 %" not in " ".join(lines) and "less" not in " ".join(lines)


def test_where_no_site_told_figures_of_its_own_nothing_is_said():
    rows = [YardstickRow(model=FEDERATED, pool=HEADLINE, outcome="latents", r2=0.5)]
    assert "interval" not in " ".join(shown(RunHistory(baselines=rows)))
