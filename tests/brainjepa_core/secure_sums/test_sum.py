"""Whole sums: exact whoever is gone, as long as the threshold is met; refused below."""

from __future__ import annotations

import shutil
import tempfile
from itertools import combinations_with_replacement
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from made_sums import Sum, listed, name, pooled, vector

from brainjepa_core.consortium.summing import threshold
from brainjepa_core.secure_sums.encoding.updates import UpdateCode
from brainjepa_core.secure_sums.in_memory import sum_in_memory
from brainjepa_core.secure_sums.messages import ALIVE, KEYS, MASKED, STEPS, UNMASK
from brainjepa_core.secure_sums.server import SumServer, TooFewSites, layout_of
from brainjepa_core.wire.packing import pack_arrays, unpack_arrays

TOO_FEW = r"expected at least {} of {} sites to answer step '{}' of .* found {}; "


def run(made: Sum, sites: int, gone: dict[str, str] | None = None):
    members = {name(n): made.site(n) for n in range(sites)}
    return sum_in_memory(members, made.server, {name(n): vector(n) for n in range(sites)}, gone)


@pytest.mark.parametrize("sites", [3, 4, 5])
def test_every_pattern_of_who_is_gone_when(tmp_path, sites):
    """All that the threshold allows, and one more gone.

    Sites are alike, so that patterns are multisets of the first step that is not answered.
    """
    needed, patterns = threshold(sites), combinations_with_replacement((*STEPS, None), sites)
    for number, pattern in enumerate(patterns):
        gone = {name(n): step for n, step in enumerate(pattern) if step}
        if len(gone) > sites - needed + 1:
            continue
        made = Sum(tmp_path / str(number), sites)
        if sites - len(gone) < needed:
            with pytest.raises(TooFewSites, match=TOO_FEW.format(needed, sites, r"\w+", r"\d")):
                run(made, sites, gone)
            continue
        total = run(made, sites, gone)
        in_it = [n for n in range(sites) if pattern[n] in (None, ALIVE, UNMASK)]
        assert made.server.alive == tuple(name(n) for n in in_it)
        assert listed(total) == pooled([vector(n) for n in in_it])


@pytest.mark.parametrize("step", STEPS)
def test_below_the_threshold_a_step_is_refused(tmp_path, step):
    """Twelve sites need nine; with four gone it is told which step, and what can be done."""
    made = Sum(tmp_path, 12)
    made.until(step)
    for n in range(8):
        made.server.receive(name(n), made.answer(n))
    mend = "drop the round" if step == UNMASK else "wait for more, or begin another attempt"
    with pytest.raises(TooFewSites, match=TOO_FEW.format(9, 12, step, 8) + mend):
        made.server.end_step()
    with pytest.raises(ValueError, match=f"all steps of .* to have ended, found '{step}' at hand"):
        made.server.total()
    made.server.receive(name(8), made.answer(8))
    made.server.end_step()
    while made.server.step:
        made.step()
    living = 12 if STEPS.index(step) > STEPS.index(MASKED) else 9
    assert listed(made.server.total()) == pooled([vector(n) for n in range(living)])


def test_a_mean_of_updates_among_twelve_sites(tmp_path):
    """From float32 updates to their mean by shares, two sites gone: against numpy in float64."""
    made, rng = Sum(tmp_path, 12), np.random.default_rng(0)
    code = UpdateCode(norm=10, reach=0.01, sites=12, most=50)
    updates = [{"w": rng.normal(0, 1e-3, 500).astype(np.float32)} for _ in range(12)]
    shares = rng.integers(1, 50, 12).tolist()
    members = {name(n): made.site(n) for n in range(12)}
    vectors = {
        name(n): code.encode(updates[n], shares[n], members[name(n)].rounding) for n in range(12)
    }
    server = SumServer(made.terms, layout_of(vectors[name(0)]))
    gone = {name(3): MASKED, name(7): KEYS}
    total = sum_in_memory(members, server, vectors, gone)
    living = [n for n in range(12) if n not in (3, 7)]
    weights = [shares[n] for n in living]
    assert code.shares(total, alive=len(living)) == sum(weights)
    exact = np.average(
        np.stack([updates[n]["w"].astype(np.float64) for n in living]), axis=0, weights=weights
    )
    error = np.abs(code.mean(total["w"], sum(weights)) - exact).max()
    assert 0 < error < 10 * code.points.step / sum(weights)


class AnyOrder(RuleBasedStateMachine):
    """Sites answer in any order, are killed, asked again, gone; so is the coordinator killed."""

    most = 7

    @initialize(data=st.data())
    def begin(self, data):
        self.sites = data.draw(st.integers(3, self.most), "sites")
        self.folder = Path(tempfile.mkdtemp())
        self.made = Sum(self.folder, self.sites)
        self.gone: set[int] = set()
        self.answers: dict[tuple[int, str], object] = {}

    @property
    def server(self) -> SumServer:
        return self.made.server

    def awaited(self) -> list[int]:
        asked = [int(site[-2:]) for site in self.server.awaited] if self.server.step else []
        return [n for n in asked if n not in self.gone]

    def answer(self, number: int):
        """Through bytes, as messages travel; the same ones however often it is asked."""
        request = unpack_arrays(pack_arrays(self.server.request(name(number))))
        packed = pack_arrays(self.made.answer(number, request))
        before = self.answers.setdefault((number, self.server.step), packed)
        np.testing.assert_array_equal(packed, before)
        return unpack_arrays(packed)

    @precondition(lambda self: self.awaited())
    @rule(data=st.data(), lost=st.booleans())
    def one_answers(self, data, lost):
        number = data.draw(st.sampled_from(self.awaited()), "site")
        reply = self.answer(number)
        if not lost:
            self.server.receive(name(number), reply)

    @precondition(lambda self: self.awaited())
    @rule()
    def all_answer(self):
        for number in self.awaited():
            self.server.receive(name(number), self.answer(number))

    @precondition(lambda self: self.server.step)
    @rule(data=st.data())
    def one_is_gone(self, data):
        number = data.draw(st.integers(0, self.sites - 1), "gone")
        # Rarely more than may be gone, so that most sums come to their end.
        if len(self.gone) < self.sites - self.made.terms.threshold or data.draw(st.booleans()):
            self.gone.add(number)

    @precondition(lambda self: self.server.step)
    @rule()
    def the_coordinator_is_killed(self):
        kept = unpack_arrays(pack_arrays(self.server.to_arrays()))
        self.made.server = SumServer.from_arrays(self.made.terms, kept)

    @precondition(lambda self: self.server.step)
    @rule()
    def the_step_ends(self):
        answered = len(self.server.asked) - len(self.server.awaited)
        if answered < self.made.terms.threshold:
            with pytest.raises(TooFewSites, match="expected at least"):
                self.server.end_step()
        else:
            self.server.end_step()

    @precondition(lambda self: not self.server.step)
    @rule()
    def nothing_is_asked_any_more(self):
        with pytest.raises(ValueError, match="found that all have ended"):
            self.server.request(name(0))

    def teardown(self):
        """Whoever is left goes on to the end."""
        if not hasattr(self, "made"):
            return
        try:
            self.finish()
        finally:
            shutil.rmtree(self.folder)

    def finish(self):
        while self.server.step:
            for number in self.awaited():
                self.server.receive(name(number), self.answer(number))
            answered = len(self.server.asked) - len(self.server.awaited)
            if answered < self.made.terms.threshold:
                with pytest.raises(TooFewSites, match="expected at least"):
                    self.server.end_step()
                return
            self.server.end_step()
        living = [int(site[-2:]) for site in self.server.alive]
        assert len(living) >= self.made.terms.threshold
        assert listed(self.server.total()) == pooled([vector(n) for n in living])


class AnyOrderOfMany(AnyOrder):
    most = 40


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(1500)
class TestAnyOrderOfMany(AnyOrderOfMany.TestCase):
    # Shrinking so many sites would take longer than it helps: the small ones above shrink.
    settings = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
